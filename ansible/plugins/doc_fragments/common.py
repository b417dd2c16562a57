# Copyright: the dmsnap authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):
    """How dmsnap is called."""

    DOCUMENTATION = r"""
options:
  executable:
    description: The dmsnap command.
    type: str
    default: dmsnap
  state_dir:
    description: Where dmsnap keeps its state, if not in C(/var/lib/dmsnap).
    type: path
"""
