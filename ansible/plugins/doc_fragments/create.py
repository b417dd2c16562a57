# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):
    """What a set is made with."""

    DOCUMENTATION = r"""
options:
  store:
    description: Where old data goes, for all origins that have none of their own in C(stores).
    type: str
  stores:
    description: Where old data goes, by origin, each written as in C(origins).
    type: dict
  size:
    description: Limit of each store, a number with k, m, g or t, or % of the origin.
    type: str
  chunk:
    description: Unit of copying, a power of two with k, m or g.
    type: str
  persistent:
    description: >-
      Write the stores in the persistent format, so that newer sets can take over for this one. Beside such a set the next
      ones are persistent by themselves.
    type: bool
    default: false
  writable:
    description: Make the images writable.
    type: bool
    default: false
  consistency:
    description: C(fs) freezes every mounted filesystem, C(crash) freezes none.
    type: str
    choices: [fs, crash]
    default: fs
  freeze_timeout:
    description: Longest time writers may be held, such as C(10s).
    type: str
"""
