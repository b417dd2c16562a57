"""Times of receipts."""

import unittest

from ansible_collections.dmsnap.dmsnap.plugins.modules.dmsnap_cut import microseconds


class Times(unittest.TestCase):
    def test_microseconds(self):
        for text, want in {
            "1970-01-01T00:00:01Z": 1000000,
            "2026-11-20T10:00:00.5Z": 1795168800500000,
            "2026-11-20T10:00:00.123456789Z": 1795168800123456,
        }.items():
            self.assertEqual(microseconds(text), want)


if __name__ == "__main__":
    unittest.main()
