#!/usr/bin/python
# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: dmsnap_info
short_description: List snapshot sets and check a host
version_added: "0.1.0"
description:
  - Returns the sets of a host, and the report of C(dmsnap doctor) on the host and on origins. Changes nothing.
author:
  - The dmsnap authors (@dmsnap)
options:
  name:
    description: Return only this set. A missing set is not an error.
    type: str
  origins:
    description: Origins to check, as for M(dmsnap.dmsnap.dmsnap_snapshot).
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - dmsnap.dmsnap.common
attributes:
  check_mode:
    support: full
    description: The module never changes anything.
  diff_mode:
    support: none
    description: The module never changes anything.
seealso:
  - module: dmsnap.dmsnap.dmsnap_snapshot
"""

EXAMPLES = r"""
- name: List all sets
  dmsnap.dmsnap.dmsnap_info:
  register: dmsnap

- name: Fail if a snapshot of /home is not possible
  dmsnap.dmsnap.dmsnap_info:
    origins: [/home]
  register: dmsnap
  failed_when: not dmsnap.report.origins[0].possible
"""

RETURN = r"""
sets:
  description: The sets, as C(dmsnap list --json) prints them.
  returned: success
  type: list
  elements: dict
  sample: [{name: nightly, state: active, volumes: []}]
report:
  description: What C(dmsnap doctor --json) prints.
  returned: success
  type: dict
  sample: {kernel: 6.12.0, dm: 4.48.0, udev: true, privileged: true, problems: [], origins: []}
version:
  description: Version of dmsnap.
  returned: success
  type: str
  sample: v0.1.0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dmsnap.dmsnap.plugins.module_utils.dmsnap import COMMON_ARGUMENTS, Dmsnap, DmsnapError


def main():
    module = AnsibleModule(
        argument_spec=dict(COMMON_ARGUMENTS, name=dict(type="str"), origins=dict(type="list", elements="str", default=[])),
        supports_check_mode=True,
    )
    tool = Dmsnap(module)
    try:
        report = tool.run("doctor", "reports", "--", *module.params["origins"])[0]
        sets = tool.run("list", "sets") if report["dm"] else []
        version = tool.run("version", "versions")[0]["version"]
    except DmsnapError as e:
        module.fail_json(**e.result)
    if module.params["name"]:
        sets = [s for s in sets if s["name"] == module.params["name"]]
    module.exit_json(changed=False, sets=sets, report=report, version=version)


if __name__ == "__main__":
    main()
