#!/usr/bin/python
# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: dmsnap_attach
short_description: Bring plain block devices under device-mapper
version_added: "0.1.0"
description:
  - Brings a partition or a disk under device-mapper while it stays in use, and keeps it there. This makes later snapshots
    faster. It is optional, since M(dmsnap.dmsnap.dmsnap_snapshot) does the same for as long as the device has sets.
  - Needs the C(dmsnap) command and the kernel module C(dm-interpose) on the managed host, and root. An attachment ends with a
    reboot.
author:
  - The dmsnap authors (@dmsnap)
options:
  origin:
    description: A plain block device, a mount point, or C(UUID=), C(LABEL=), C(PARTUUID=), C(PARTLABEL=).
    type: str
    required: true
  state:
    description:
      - C(present) attaches the device if it is not attached yet.
      - C(absent) detaches it. It is an error if the device still has sets.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - dmsnap.dmsnap.common
attributes:
  check_mode:
    support: full
    description: Changes nothing, and fails if the device cannot be attached.
  diff_mode:
    support: full
    description: Shows whether the device is attached.
seealso:
  - module: dmsnap.dmsnap.dmsnap_snapshot
  - module: dmsnap.dmsnap.dmsnap_info
"""

EXAMPLES = r"""
- name: Keep the root device attached until reboot
  dmsnap.dmsnap.dmsnap_attach:
    origin: /

- name: Detach the root device
  dmsnap.dmsnap.dmsnap_attach:
    origin: /
    state: absent
"""

RETURN = r"""
attachment:
  description: What was attached, as C(dmsnap attach --json) prints it.
  returned: when the device was attached now
  type: dict
  sample: {origin: /dev/vda1, origin_devno: "254:1", redirector: module, front: /dev/mapper/dmsnap-front-vda1, mountpoints: [/]}
code:
  description: Class of a failure, as in dmsnap's JSON errors.
  returned: failure
  type: str
  sample: busy
hint:
  description: What can be done about a failure.
  returned: failure, when known
  type: str
  sample: dmsnap remove nightly
rc:
  description: Exit status of the dmsnap that failed.
  returned: failure
  type: int
  sample: 5
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dmsnap.dmsnap.plugins.module_utils.dmsnap import COMMON_ARGUMENTS, UNSUPPORTED, Dmsnap, DmsnapError


def reach(tool, origin, wanted, check):
    """Brings an origin to its wanted state, and returns what was done."""
    report = tool.run("doctor", "reports", "--", origin)[0]["origins"][0]
    result = dict(changed=report["attached"] != wanted)
    result["diff"] = dict(before=dict(attached=report["attached"]), after=dict(attached=wanted))
    if not result["changed"]:
        return result
    if wanted and report["redirector"] != "module":
        said = ["%s (%s)" % (p["message"], p["hint"]) if p.get("hint") else p["message"] for p in report["problems"]]
        raise DmsnapError("%s cannot be attached: %s" % (origin, "; ".join(said) or "it is no plain device"), "unsupported", rc=UNSUPPORTED)
    if check:
        return result
    if wanted:
        result["attachment"] = tool.run("attach", "attachments", "--", origin)[0]
    else:
        tool.run("detach", "attachments", "--", origin)
    return result


def main():
    module = AnsibleModule(
        argument_spec=dict(
            COMMON_ARGUMENTS,
            origin=dict(type="str", required=True),
            state=dict(type="str", choices=["present", "absent"], default="present"),
        ),
        supports_check_mode=True,
    )
    try:
        result = reach(Dmsnap(module), module.params["origin"], module.params["state"] == "present", module.check_mode)
    except DmsnapError as e:
        module.fail_json(**e.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
