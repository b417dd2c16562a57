#!/usr/bin/python
# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: dmsnap_cut
short_description: Take a snapshot in two phases
version_added: "0.1.0"
description:
  - Prepares a snapshot without blocking writers, and later takes it, optionally at a given time, or cancels it.
  - The role C(dmsnap.dmsnap.fleet_cut) does this on many hosts at the same instant.
author:
  - The dmsnap authors (@dmsnap)
options:
  state:
    description:
      - C(prepared) prepares the snapshot and returns a token.
      - C(cut) takes the prepared snapshot.
      - C(aborted) cancels the preparation. An unknown token is not an error.
    type: str
    choices: [prepared, cut, aborted]
    required: true
  name:
    description: Name of the set. Required if C(state=prepared).
    type: str
  origins:
    description: Origins, as for M(dmsnap.dmsnap.dmsnap_snapshot). Required if C(state=prepared).
    type: list
    elements: str
  labels:
    description: Labels of the set.
    type: dict
  expires:
    description: How long the preparation is kept, such as C(2m).
    type: str
    default: 10m
  token:
    description: What C(state=prepared) returned. Required if C(state) is C(cut) or C(aborted).
    type: str
  at:
    description: When to take the snapshot, in seconds since 1970 by the host's own clock. Default is at once.
    type: float
  tolerance:
    description: How many seconds after C(at) the snapshot may still be taken. Later the task fails, and no snapshot is taken.
    type: float
    default: 1.0
extends_documentation_fragment:
  - dmsnap.dmsnap.create
  - dmsnap.dmsnap.common
attributes:
  check_mode:
    support: full
    description: With C(state=prepared) the planned steps are in C(plans); the other states do nothing.
  diff_mode:
    support: none
    description: A new set has no previous state.
seealso:
  - module: dmsnap.dmsnap.dmsnap_snapshot
"""

EXAMPLES = r"""
- name: Prepare the snapshot
  dmsnap.dmsnap.dmsnap_cut:
    state: prepared
    name: nightly
    origins: [/var/lib/db]
    store: /dev/vdc
    expires: 2m
  register: prepared

- name: Take it
  dmsnap.dmsnap.dmsnap_cut:
    state: cut
    token: "{{ prepared.token }}"
"""

RETURN = r"""
token:
  description: Names what was prepared.
  returned: when state is prepared
  type: str
  sample: 0b51d2f0a6c84f0e9d1f2a3b4c5d6e7f
set:
  description: The set, as C(dmsnap show --json) prints it.
  returned: when state is cut
  type: dict
  sample: {name: nightly, state: active}
start_us:
  description: When writers were first held, in microseconds since 1970 by the host's clock.
  returned: when state is cut
  type: int
  sample: 1795169880123456
end_us:
  description: When writers ran again. The instant of the set lies between the two.
  returned: when state is cut
  type: int
  sample: 1795169880127636
plans:
  description: The steps that would be taken.
  returned: in check mode, when state is prepared
  type: list
  elements: dict
  sample: [{op: create, set: nightly, steps: []}]
"""

import datetime
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dmsnap.dmsnap.plugins.module_utils.dmsnap import (
    COMMON_ARGUMENTS,
    CREATE_ARGUMENTS,
    Dmsnap,
    DmsnapError,
    create_arguments,
)


def microseconds(text):
    """Reads a time of dmsnap's JSON, RFC 3339 in UTC with up to nine digits."""
    seconds, digits = re.match(r"^(.*?)(?:\.(\d+))?Z$", text).groups()
    parsed = datetime.datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S")
    whole = (parsed - datetime.datetime(1970, 1, 1)).total_seconds()
    return int(whole) * 1000000 + int(((digits or "") + "000000")[:6])


def prepare(module, tool):
    arguments = create_arguments(module.params)
    if module.check_mode:
        return dict(changed=True, token="", plans=tool.run("create", "plans", "--dry-run", *arguments))
    prepared = tool.run("create", "preparations", "--prepare", "--expires=" + module.params["expires"], *arguments)[0]
    return dict(changed=True, token=prepared["token"])


def wait_until(at, tolerance):
    """Waits for the time agreed upon; the last stretch is short, so that it is met closely."""
    if at is None:
        return
    while True:
        left = at - time.time()
        if left <= 0:
            break
        time.sleep(left if left < 0.05 else left - 0.02)
    if -left > tolerance:
        raise DmsnapError("it is %.3f s after the time to cut" % -left, "failed", "allow a longer lead, or more forks")


def cut(module, tool):
    if module.check_mode:
        return dict(changed=True)
    wait_until(module.params["at"], module.params["tolerance"])
    taken = tool.run("cut", "sets", "--", module.params["token"])[0]
    receipt = taken["receipt"]
    return dict(changed=True, set=taken, start_us=microseconds(receipt["start"]), end_us=microseconds(receipt["end"]))


def abort(module, tool):
    if module.check_mode:
        return dict(changed=True)
    try:
        tool.run("abort", "preparations", "--", module.params["token"])
    except DmsnapError as e:
        if e.code == "not_found":
            return dict(changed=False)
        raise
    return dict(changed=True)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            COMMON_ARGUMENTS,
            state=dict(type="str", choices=["prepared", "cut", "aborted"], required=True),
            name=dict(type="str"),
            origins=dict(type="list", elements="str"),
            labels=dict(type="dict"),
            expires=dict(type="str", default="10m"),
            token=dict(type="str", no_log=False),
            at=dict(type="float"),
            tolerance=dict(type="float", default=1.0),
            **CREATE_ARGUMENTS
        ),
        required_if=[
            ("state", "prepared", ["name", "origins"]),
            ("state", "cut", ["token"]),
            ("state", "aborted", ["token"]),
        ],
        supports_check_mode=True,
    )
    tool = Dmsnap(module)
    try:
        result = dict(prepared=prepare, cut=cut, aborted=abort)[module.params["state"]](module, tool)
    except DmsnapError as e:
        module.fail_json(**e.result)
    for warning in tool.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
