# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the modules of this collection share: calling dmsnap, and comparing a set with what was asked for."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import stat

# Exit statuses of dmsnap that mean more than "failed" (docs/exit-codes.md).
EXISTS, NOT_FOUND, UNSUPPORTED, DEGRADED = 2, 4, 7, 9

TAGS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}

COMMON_ARGUMENTS = dict(
    executable=dict(type="str", default="dmsnap"),
    state_dir=dict(type="path"),
)


CREATE_ARGUMENTS = dict(
    store=dict(type="str"),
    stores=dict(type="dict"),
    size=dict(type="str"),
    chunk=dict(type="str"),
    persistent=dict(type="bool", default=False),
    writable=dict(type="bool", default=False),
    transient=dict(type="bool", default=False),
    force_store=dict(type="bool", default=False),
    lease=dict(type="str"),
    consistency=dict(type="str", choices=["auto", "app", "fs", "crash"], default="auto"),
    freeze_timeout=dict(type="str"),
    hooks=dict(type="path"),
    hook_timeout=dict(type="str"),
)


class DmsnapError(Exception):
    """A command that failed, with what it said."""

    def __init__(self, message, code=None, hint=None, device=None, rc=1, cmd=None):
        super(DmsnapError, self).__init__(message)
        self.result = dict(msg=message, code=code, hint=hint, device=device, rc=rc, cmd=cmd)
        self.code, self.rc = code, rc


class Dmsnap(object):
    """Calls dmsnap --json with lists of arguments; no shell sees them."""

    def __init__(self, module):
        self.module = module
        self.warnings = []

    def run(self, command, key, *args):
        """Runs a command and returns the items under its key."""
        argv = [self.module.params["executable"], command, "--json"]
        if self.module.params.get("state_dir"):
            argv.append("--state-dir=" + self.module.params["state_dir"])
        argv += list(args)
        rc, out, err = self.module.run_command(argv, environ_update={"LC_ALL": "C"})
        try:
            reply = json.loads(out)
        except ValueError:
            raise DmsnapError("no JSON from dmsnap: " + (err or out).strip(), rc=rc, cmd=argv)
        if "error" in reply:
            e = reply["error"]
            message = e["message"] if not e.get("hint") else "%s (%s)" % (e["message"], e["hint"])
            raise DmsnapError(message, e.get("code"), e.get("hint"), e.get("device"), rc, argv)
        if rc == DEGRADED:
            self.warnings.append(err.strip())
        elif rc != 0 and not (rc == UNSUPPORTED and key in reply):
            raise DmsnapError(err.strip() or "exit status %d" % rc, rc=rc, cmd=argv)
        return reply[key]

    def find(self, name):
        """Returns a set by name, or None."""
        try:
            return self.run("show", "sets", "--", name)[0]
        except DmsnapError as e:
            if e.code == "not_found":
                return None
            raise


def create_arguments(params):
    """Returns the arguments of dmsnap create."""
    args = ["--name=" + params["name"], "--consistency=" + params["consistency"]]
    args += ["--store=%s=%s" % pair for pair in sorted((params["stores"] or {}).items())]
    for flag in ("store", "size", "chunk"):
        if params[flag]:
            args.append("--%s=%s" % (flag, params[flag]))
    for flag in ("lease", "freeze_timeout", "hooks", "hook_timeout"):
        if params[flag]:
            args.append("--%s=%s" % (flag.replace("_", "-"), params[flag]))
    args += ["--" + flag.replace("_", "-") for flag in ("persistent", "transient", "writable", "force_store") if params[flag]]
    args += ["--label=%s=%s" % pair for pair in sorted((texts(params["labels"]) or {}).items())]
    return args + ["--"] + params["origins"]


def texts(labels):
    """Returns labels as dmsnap keeps them: all values are text, whatever YAML made of them. None stays None."""
    return labels if labels is None else dict((str(key), text(value)) for key, value in labels.items())


def text(value):
    """Returns a value as YAML writes it: true, not True."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def devno(origin):
    """Returns the major:minor that an origin means on this host, or None."""
    tag, unused, value = origin.partition("=")
    path = origin
    if tag in TAGS:
        path = os.path.join("/dev/disk", TAGS[tag], value)
    try:
        st = os.stat(path)
    except OSError:
        return None
    number = st.st_rdev if stat.S_ISBLK(st.st_mode) else st.st_dev
    return "%d:%d" % (os.major(number), os.minor(number))


def is_volume(origin, volume):
    """Tells whether a volume of a set is what an origin means."""
    if volume.get("origin_devno") and devno(origin) == volume["origin_devno"]:
        return True
    return origin == volume.get("origin") or origin in (volume.get("mountpoints") or [])


def differences(found, origins, persistent=None, writable=None, labels=None, chunk=None):
    """Lists what a set has other than asked for. None means that it does not matter."""
    out = []
    volumes = list(found["volumes"])
    for origin in origins or []:
        mine = [v for v in volumes if is_volume(origin, v)]
        if not mine:
            out.append("%s is not in the set" % origin)
        for v in mine:
            volumes.remove(v)
    if origins:
        out += ["the set has %s too" % v.get("origin") for v in volumes]
    if found["state"] != "active":
        reasons = [v["reason"] for v in found["volumes"] if v.get("reason")]
        out.append("it is %s: %s" % (found["state"], "; ".join(reasons)))
    # Beside older persistent sets one is persistent without being asked to.
    if persistent and not found.get("persistent"):
        out.append("it is not persistent")
    if writable is not None and any(v.get("writable") != writable for v in found["volumes"]):
        out.append("writable is %s" % (not writable))
    if labels is not None and found.get("labels") != texts(labels):
        out.append("labels are %s" % json.dumps(found.get("labels"), sort_keys=True))
    if chunk is not None and any(v.get("chunk_bytes") != chunk for v in found["volumes"]):
        out.append("the chunk size is another")
    return out


def size_bytes(text):
    """Reads a number with k, m, g or t; None for anything else."""
    unit = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}.get(text[-1:].lower())
    if unit is None or not text[:-1].isdigit():
        return None
    return int(text[:-1]) * unit


def summary(found):
    """What a diff shows of a set; None is no set."""
    if found is None:
        return dict(state="absent")
    return dict(
        state="present",
        volumes=sorted(v.get("origin") or v.get("name") or "" for v in found["volumes"]),
        mounted=sorted(m for v in found["volumes"] for m in v.get("image_mounts") or []),
        labels=found.get("labels") or {},
    )
