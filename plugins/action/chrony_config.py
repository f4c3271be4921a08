# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the files of chronyd; refuse where facts of the host shadow variables of the operator."""

from __future__ import annotations

from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction


class ActionModule(HostAction):
    """Ansible's entry point."""

    facts = ("chrony",)
    refuses_shadowed_variables = True
