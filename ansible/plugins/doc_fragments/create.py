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
