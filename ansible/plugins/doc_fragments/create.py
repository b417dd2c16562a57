# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):
    """What a set is made with."""

    DOCUMENTATION = r"""
options:
  store:
    description: Where overwritten data is saved, for all origins without an entry in C(stores).
    type: str
  stores:
    description: Where overwritten data is saved, by origin, each written as in C(origins).
    type: dict
  size:
    description: Size of each store, a number followed by k, m, g or t, or by % (of the origin).
    type: str
  chunk:
    description: Copy-on-write unit, a power of two followed by k, m or g.
    type: str
  persistent:
    description: >-
      Use the persistent store format, so that this set can read through newer ones. Later sets of the origin are then
      persistent by default.
    type: bool
    default: false
  writable:
    description: Make the images writable.
    type: bool
    default: false
  transient:
    description: Keep the exception table in memory even where older sets are persistent.
    type: bool
    default: false
  force_store:
    description: Use a store device even if it holds a filesystem or other signature. Its contents are lost.
    type: bool
    default: false
  lease:
    description: Remove the set automatically after a time such as C(2h), or at the next C(boot).
    type: str
  consistency:
    description:
      - C(app) freezes every mounted filesystem and requires every hook to succeed; C(fs) freezes, and reports a failed hook
        with a warning; C(crash) freezes none.
      - C(auto) is C(app) if the host has hooks, else C(fs), as with the command.
    type: str
    choices: [auto, app, fs, crash]
    default: auto
  freeze_timeout:
    description: Longest time writers may be blocked, such as C(10s).
    type: str
  hooks:
    description: Directory with more hooks, run after those of the host.
    type: path
  hook_timeout:
    description: Time limit for each hook call, such as C(30s).
    type: str
"""
