"""The modules against a dmsnap without a kernel: arguments in, one JSON object out."""

import contextlib
import importlib
import io
import json
import os
import tempfile
import unittest

from ansible.module_utils import basic

FAKE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "fake_dmsnap"))
MODULES = "ansible_collections.dmsnap.dmsnap.plugins.modules."


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def module(self, module, check=False, **params):
        params.update(executable=FAKE, state_dir=self.dir.name, _ansible_check_mode=check, _ansible_diff=True)
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": params}).encode()
        said = io.StringIO()
        with contextlib.redirect_stdout(said), self.assertRaises(SystemExit):
            importlib.import_module(MODULES + module).main()
        return json.loads(said.getvalue())

    def snapshot(self, **params):
        params.setdefault("name", "nightly")
        return self.module("dmsnap_snapshot", **params)

    def calls(self):
        with open(os.path.join(self.dir.name, "calls")) as f:
            return [json.loads(line) for line in f]

    def break_command(self, *names):
        with open(os.path.join(self.dir.name, "fail"), "w") as f:
            f.write(" ".join(names))


class Snapshot(Case):
    def test_present_is_idempotent(self):
        wanted = dict(origins=["/home", "/var"], stores={"/home": "/dev/vdc", "/var": "/dev/vdd"}, labels={"job": "7"}, size="20%")
        first = self.snapshot(**wanted)
        self.assertTrue(first["changed"])
        self.assertEqual(first["set"]["labels"], {"job": "7"})
        self.assertEqual(first["diff"]["before"], {"state": "absent"})
        self.assertEqual(first["diff"]["after"]["volumes"], ["/home", "/var"])
        again = self.snapshot(**wanted)
        self.assertFalse(again["changed"])
        self.assertEqual(again["diff"]["before"], again["diff"]["after"])
        create = [c for c in self.calls() if c[0] == "create"]
        self.assertEqual(create, [[
            "create", "--json", "--state-dir=" + self.dir.name, "--name=nightly", "--consistency=auto", "--store=/home=/dev/vdc",
            "--store=/var=/dev/vdd", "--size=20%", "--label=job=7", "--", "/home", "/var",
        ]])

    def test_another_set_of_the_name_is_refused_or_replaced(self):
        self.snapshot(origins=["/home"])
        for params in (dict(origins=["/var"]), dict(origins=["/home", "/var"]), dict(origins=["/home"], writable=True),
                       dict(origins=["/home"], persistent=True), dict(origins=["/home"], labels={"a": "b"}),
                       dict(origins=["/home"], chunk="4k")):
            refused = self.snapshot(**params)
            self.assertTrue(refused.get("failed"), params)
            self.assertTrue(refused["differences"])
            self.assertEqual((refused["code"], refused["rc"]), ("exists", 2))
        replaced = self.snapshot(origins=["/var"], replace=True)
        self.assertTrue(replaced["changed"])
        self.assertEqual([v["origin"] for v in replaced["set"]["volumes"]], ["/var"])

    def test_replace_is_always_a_new_set(self):
        wanted = dict(origins=["/home"], labels={"ticket": 4711}, replace=True)
        self.snapshot(**wanted)
        self.assertTrue(self.snapshot(**wanted)["changed"])
        self.assertEqual([c[0] for c in self.calls() if c[0] in ("create", "remove")], ["create", "remove", "create"])

    def test_labels_are_compared_as_they_are_kept(self):
        wanted = dict(origins=["/home"], labels={"ticket": 4711, "auto": True, "ratio": 1.5, "none": None})
        first = self.snapshot(**wanted)
        self.assertEqual(first["set"]["labels"], {"ticket": "4711", "auto": "true", "ratio": "1.5", "none": ""})
        self.assertFalse(self.snapshot(**wanted)["changed"])

    def test_flags_of_the_command(self):
        self.snapshot(origins=["/home"], consistency="app", hooks="/srv/hooks", hook_timeout="5s", lease="2h", force_store=True, transient=True)
        create = [c for c in self.calls() if c[0] == "create"][0]
        for flag in ("--consistency=app", "--hooks=/srv/hooks", "--hook-timeout=5s", "--lease=2h", "--force-store", "--transient"):
            self.assertIn(flag, create)

    def test_a_set_that_is_persistent_by_itself_is_what_was_asked_for(self):
        self.snapshot(origins=["/home"], persistent=True)
        self.assertFalse(self.snapshot(origins=["/home"])["changed"])

    def test_an_origin_is_known_by_its_device(self):
        self.snapshot(origins=["/home"])
        path = os.path.join(self.dir.name, "db")
        with open(path) as f:
            db = json.load(f)
        number = os.stat(self.dir.name).st_dev
        db["sets"]["nightly"]["volumes"][0].update(origin="/dev/mapper/x", origin_devno="%d:%d" % (os.major(number), os.minor(number)))
        with open(path, "w") as f:
            json.dump(db, f)
        self.assertFalse(self.snapshot(origins=[self.dir.name])["changed"])
        self.assertTrue(self.snapshot(origins=["/proc"])["failed"])

    def test_mounted_and_absent(self):
        wanted = dict(state="mounted", origins=["/home"], path="/mnt")
        mounted = self.snapshot(**wanted)
        self.assertEqual(mounted["mounts"][0]["path"], "/mnt")
        self.assertEqual(mounted["diff"]["after"]["mounted"], ["/mnt"])
        self.assertFalse(self.snapshot(**wanted)["changed"])
        self.assertTrue(self.snapshot(state="mounted", origins=["/home"], path="/srv")["failed"])
        gone = self.snapshot(state="absent")
        self.assertTrue(gone["changed"])
        self.assertIsNone(gone["set"])
        self.assertFalse(self.snapshot(state="absent")["changed"])

    def test_mounted_means_all_of_them_where_they_were_asked_for(self):
        wanted = dict(state="mounted", origins=["/home", "/var"], path="/mnt")
        self.assertEqual(self.snapshot(**wanted)["diff"]["after"]["mounted"], ["/mnt/home", "/mnt/var"])
        self.assertFalse(self.snapshot(**wanted)["changed"])
        for place, well in ([], True), (["/mnt/elsewhere"], False):
            path = os.path.join(self.dir.name, "db")
            with open(path) as f:
                db = json.load(f)
            db["sets"]["nightly"]["volumes"][1]["image_mounts"] = place
            with open(path, "w") as f:
                json.dump(db, f)
            again = self.snapshot(**wanted)
            if well:
                self.assertTrue(again["changed"])
                self.assertEqual(again["diff"]["after"]["mounted"], ["/mnt/home", "/mnt/var"])
            else:
                self.assertEqual(again["code"], "busy")

    def test_check_mode_changes_nothing(self):
        planned = self.snapshot(origins=["/home"], check=True)
        self.assertTrue(planned["changed"])
        self.assertEqual(planned["plans"][0]["op"], "create")
        self.assertEqual(planned["diff"]["after"]["volumes"], ["/home"])
        self.snapshot(origins=["/home"])
        self.assertFalse(self.snapshot(origins=["/home"], check=True)["changed"])
        self.assertEqual(self.snapshot(state="absent", check=True)["plans"][0]["op"], "remove")
        self.assertTrue(self.snapshot(state="mounted", origins=["/home"], path="/mnt", check=True)["changed"])
        self.assertTrue(self.snapshot(origins=["/var"], replace=True, check=True)["changed"])
        changing = [c for c in self.calls() if c[0] in ("create", "remove", "mount", "umount") and "--dry-run" not in c]
        self.assertEqual(len(changing), 1)

    def test_failures_are_told(self):
        self.break_command("create")
        failed = self.snapshot(origins=["/home"])
        self.assertEqual((failed["failed"], failed["code"], failed["rc"]), (True, "failed", 1))

    def test_lower_consistency_is_a_warning(self):
        taken = self.snapshot(origins=["vfat"])
        self.assertTrue(taken["changed"])

    def test_what_is_needed(self):
        self.assertTrue(self.snapshot()["failed"])
        self.assertTrue(self.snapshot(state="mounted", origins=["/home"])["failed"])


class Cut(Case):
    def cut(self, **params):
        return self.module("dmsnap_cut", **params)

    def test_two_phases(self):
        prepared = self.cut(state="prepared", name="nightly", origins=["/home"], store="/dev/vdc", expires="1m")
        self.assertIn("--expires=1m", self.calls()[-1])
        taken = self.cut(state="cut", token=prepared["token"])
        self.assertEqual(taken["set"]["name"], "nightly")
        self.assertLessEqual(taken["start_us"], taken["end_us"])
        self.assertEqual(self.cut(state="cut", token=prepared["token"])["code"], "not_found")
        self.assertFalse(self.cut(state="aborted", token=prepared["token"])["changed"])

    def test_too_late_takes_nothing(self):
        prepared = self.cut(state="prepared", name="nightly", origins=["/home"])
        self.assertTrue(self.cut(state="cut", token=prepared["token"], at=1.0)["failed"])
        self.assertTrue(self.cut(state="aborted", token=prepared["token"])["changed"])

    def test_check_mode(self):
        prepared = self.cut(state="prepared", name="nightly", origins=["/home"], check=True)
        self.assertEqual(prepared["plans"][0]["op"], "create")
        self.assertIn("--dry-run", self.calls()[-1])


class Attach(Case):
    def attach(self, **params):
        return self.module("dmsnap_attach", **params)

    def test_is_idempotent(self):
        first = self.attach(origin="/data")
        self.assertTrue(first["changed"])
        self.assertEqual(first["attachment"]["origin"], "/data")
        self.assertEqual(first["diff"], {"before": {"attached": False}, "after": {"attached": True}})
        self.assertFalse(self.attach(origin="/data")["changed"])
        self.assertTrue(self.attach(origin="/data", state="absent")["changed"])
        self.assertFalse(self.attach(origin="/data", state="absent")["changed"])
        self.assertEqual([c[0] for c in self.calls() if c[0] != "doctor"], ["attach", "detach"])

    def test_check_mode_changes_nothing(self):
        self.assertTrue(self.attach(check=True, origin="/data")["changed"])
        self.assertEqual([c[0] for c in self.calls()], ["doctor"])

    def test_what_is_no_plain_device(self):
        for check in (True, False):
            refused = self.attach(check=check, origin="/dev/mapper/vg-home")
            self.assertTrue(refused["failed"])
            self.assertEqual(refused["code"], "unsupported")
        self.assertFalse(self.attach(origin="/dev/mapper/vg-home", state="absent")["changed"])

    def test_a_failure_has_its_code(self):
        self.break_command("attach")
        refused = self.attach(origin="/data")
        self.assertTrue(refused["failed"])
        self.assertEqual((refused["code"], refused["rc"]), ("failed", 1))


class Info(Case):
    def test_info(self):
        self.snapshot(origins=["/home"])
        self.snapshot(name="weekly", origins=["/var"])
        info = self.module("dmsnap_info", origins=["/home"])
        self.assertEqual(sorted(s["name"] for s in info["sets"]), ["nightly", "weekly"])
        self.assertTrue(info["report"]["origins"][0]["possible"])
        self.assertEqual([s["name"] for s in self.module("dmsnap_info", name="weekly")["sets"]], ["weekly"])
        self.assertFalse(info["changed"])


if __name__ == "__main__":
    unittest.main()
