#!/usr/bin/python
# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: dmsnap_snapshot
short_description: Point-in-time snapshots of live block devices
version_added: "0.1.0"
description:
  - Takes a snapshot set of one or several live volumes at the same instant, mounts its images, or removes it.
  - Sets are compared by their contents, not only by name. It is an error if a set of this name has other volumes or was lost.
    With C(replace=true) an existing set of this name is removed, and the snapshot is always new.
  - Needs the C(dmsnap) command on the managed host, and root.
author:
  - The dmsnap authors (@dmsnap)
options:
  name:
    description: Name of the set.
    type: str
    required: true
  state:
    description:
      - C(present) takes the snapshot if the set does not exist. Mounted images stay mounted.
      - C(mounted) also mounts all its images below C(path).
      - C(absent) unmounts its images and removes it.
    type: str
    choices: [present, mounted, absent]
    default: present
  origins:
    description:
      - Block devices, mount points, or C(UUID=), C(LABEL=), C(PARTUUID=), C(PARTLABEL=). Each becomes a volume.
      - Required unless C(state=absent).
    type: list
    elements: str
  labels:
    description:
      - Labels of the set. If given, they are part of the comparison.
      - Values are stored as text; numbers and booleans as YAML writes them.
    type: dict
  path:
    description: Directory to mount on. Required if C(state=mounted).
    type: path
  replace:
    description:
      - Always take a new snapshot. An existing set of this name is unmounted and removed first, whatever its contents.
      - Such a task always reports a change.
    type: bool
    default: false
extends_documentation_fragment:
  - dmsnap.dmsnap.create
  - dmsnap.dmsnap.common
attributes:
  check_mode:
    support: full
    description: The planned steps are in C(plans).
  diff_mode:
    support: full
    description: Shows the set before and after.
seealso:
  - module: dmsnap.dmsnap.dmsnap_info
notes:
  - Writers are blocked for a few milliseconds while the snapshot is taken.
"""

EXAMPLES = r"""
- name: Take a snapshot of two volumes at the same instant
  dmsnap.dmsnap.dmsnap_snapshot:
    name: nightly
    origins: [/home, /var]
    stores:
      /home: /dev/vdc
      /var: /dev/vdd

- name: The same, with images mounted below /mnt/nightly
  dmsnap.dmsnap.dmsnap_snapshot:
    name: nightly
    state: mounted
    origins: [/home, /var]
    stores: {/home: /dev/vdc, /var: /dev/vdd}
    path: /mnt/nightly

- name: Take a new snapshot every time, for a nightly backup
  dmsnap.dmsnap.dmsnap_snapshot:
    name: before-upgrade
    origins: [LABEL=data]
    store: /dev/vdc
    size: 20%
    labels: {ticket: "4711"}
    replace: true

- name: Remove the set
  dmsnap.dmsnap.dmsnap_snapshot:
    name: nightly
    state: absent
"""

RETURN = r"""
set:
  description: The set, as C(dmsnap show --json) prints it; null if there is none.
  returned: success
  type: dict
  sample:
    name: nightly
    state: active
    receipt: {consistency: filesystem, window_us: 4180, skew_us: 310, frozen: [/home]}
    volumes:
      - {name: vg-home, origin: /dev/mapper/vg-home, device: /dev/mapper/dmsnap-nightly-vg-home, state: active}
mounts:
  description: What was mounted, if anything was.
  returned: when images were mounted
  type: list
  elements: dict
  sample: [{volume: vg-home, path: /mnt/nightly, fstype: ext4, options: ro}]
plans:
  description: The steps that would be taken.
  returned: in check mode, when something would change
  type: list
  elements: dict
  sample: [{op: create, set: nightly, steps: []}]
differences:
  description: What the set has other than asked for.
  returned: when a set of this name is refused
  type: list
  elements: str
  sample: [/var is not in the set]
code:
  description: Class of a failure, as in dmsnap's JSON errors.
  returned: failure
  type: str
  sample: busy
hint:
  description: What can be done about a failure.
  returned: failure, when known
  type: str
  sample: dmsnap umount nightly
rc:
  description: Exit status of the dmsnap that failed.
  returned: failure
  type: int
  sample: 5
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dmsnap.dmsnap.plugins.module_utils.dmsnap import (
    COMMON_ARGUMENTS,
    CREATE_ARGUMENTS,
    EXISTS,
    Dmsnap,
    DmsnapError,
    create_arguments,
    differences,
    size_bytes,
    summary,
    texts,
)


class Snapshot(object):
    """One set on the way to its wanted state."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.tool = Dmsnap(module)
        self.result = dict(changed=False)
        self.before = self.found = self.tool.find(self.params["name"])

    def reach(self):
        if self.params["state"] == "absent":
            self.remove()
        else:
            self.present()
            if self.params["state"] == "mounted":
                self.mount()
        self.result["set"] = self.found
        if self.module._diff:
            self.result["diff"] = dict(before=summary(self.before), after=self.expected())
        return self.result

    def expected(self):
        """What the set is afterwards; in check mode, what it would be."""
        if not (self.module.check_mode and self.result["changed"]):
            return summary(self.found)
        if self.params["state"] == "absent":
            return summary(None)
        after = dict(state="present", volumes=sorted(self.params["origins"]), mounted=[], labels=texts(self.params["labels"]) or {})
        if self.found is not None:
            after = summary(self.found)
        if self.params["state"] == "mounted" and not after["mounted"]:
            after["mounted"] = [self.params["path"]]
        return after

    def present(self):
        if self.found is not None and not self.params["replace"]:
            other = differences(
                self.found, self.params["origins"], self.params["persistent"], self.params["writable"],
                self.params["labels"], size_bytes(self.params["chunk"]) if self.params["chunk"] else None,
            )
            if not other:
                return
            self.result["differences"] = other
            raise DmsnapError("there is a set %s, but %s" % (self.params["name"], ", ".join(other)), "exists",
                              "replace: true removes it and takes a new one", rc=EXISTS)
        if self.found is not None:
            self.remove()
            if self.module.check_mode:
                self.found = None
                return  # a dry run would find the name taken
        self.create()

    def create(self):
        self.result["changed"] = True
        if self.module.check_mode:
            self.result["plans"] = self.tool.run("create", "plans", "--dry-run", *self.arguments())
            return
        self.found = self.tool.run("create", "sets", *self.arguments())[0]

    def arguments(self):
        return create_arguments(self.params)

    def mounts(self):
        return [m for v in self.found["volumes"] for m in v.get("image_mounts") or []]

    def place(self, volume):
        """Where dmsnap mount puts the image of a volume."""
        path = os.path.realpath(self.params["path"])  # mountinfo has no links
        if len(self.found["volumes"]) == 1:
            return path
        return os.path.normpath(path + "/" + (volume.get("mountpoints") or [volume["name"]])[0])

    def mount(self):
        if self.found is None:  # check mode
            return
        elsewhere = [m for v in self.found["volumes"] for m in v.get("image_mounts") or [] if m != self.place(v)]
        if elsewhere:
            raise DmsnapError("images are mounted already, on " + ", ".join(elsewhere), "busy", "dmsnap umount " + self.params["name"])
        if all(v.get("image_mounts") for v in self.found["volumes"]):
            return
        self.result["changed"] = True
        if not self.module.check_mode:
            if self.mounts():  # some of them: dmsnap mounts all or none
                self.tool.run("umount", "mounts", "--", self.params["name"])
            self.result["mounts"] = self.tool.run("mount", "mounts", "--", self.params["name"], self.params["path"])
            self.found = self.tool.find(self.params["name"])

    def remove(self):
        if self.found is None:
            return
        self.result["changed"] = True
        if self.module.check_mode:
            self.result["plans"] = self.tool.run("remove", "plans", "--dry-run", "--", self.params["name"])
            return
        if self.mounts():
            self.tool.run("umount", "mounts", "--", self.params["name"])
        self.tool.run("remove", "removals", "--", self.params["name"])
        self.found = None


def main():
    module = AnsibleModule(
        argument_spec=dict(
            COMMON_ARGUMENTS,
            name=dict(type="str", required=True),
            state=dict(type="str", choices=["present", "mounted", "absent"], default="present"),
            origins=dict(type="list", elements="str"),
            labels=dict(type="dict"),
            path=dict(type="path"),
            replace=dict(type="bool", default=False),
            **CREATE_ARGUMENTS
        ),
        required_if=[
            ("state", "present", ["origins"]),
            ("state", "mounted", ["origins", "path"]),
        ],
        supports_check_mode=True,
    )
    snapshot = None
    try:
        snapshot = Snapshot(module)
        result = snapshot.reach()
    except DmsnapError as e:
        partial = snapshot.result if snapshot else {}
        module.fail_json(**dict(partial, **e.result))
    for warning in snapshot.tool.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
