# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The texts of the monitor's systemd units."""

from typing import Sequence

from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import PROGRAM, STATE

MARK = "# Managed by Ansible: collection securetime.nts, role chrony_monitor. The next run overwrites manual changes.\n"
# The capabilities that root needs if chronyd runs as root, or without D-Bus. chronyc creates its socket beside
# chronyd's, accesses files of chronyd's user, and changes to that user.
CAPABILITIES_OF_ROOT = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_SETGID CAP_SETUID"

SERVICE = """
[Unit]
Description=Collect metrics and state changes of chrony and NTS
Documentation=https://github.com/securetime/nts/blob/main/docs/monitoring.md
After={chronyd}
# The timer, Ansible and administrators may start many short runs: do not limit the rate.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={program} --collect
# {reason}
User={user}
{groups}StateDirectory={state}
StateDirectoryMode=0755
SyslogIdentifier=nts-monitor
# A run waits for the probe of a busy chronyd, and up to 30 s for a hook.
TimeoutStartSec=3min
UMask=0022

CapabilityBoundingSet={capabilities}
DevicePolicy=closed
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths={writable}
RemoveIPC=yes
# The program uses chronyd's socket and D-Bus, and probes the NTS server of this host.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
{filter}"""
# For a service of an unprivileged user, systemd 254 and newer keep CAP_SYS_ADMIN while they set the filter, unless the
# filter forbids capset. A container does not have this capability.
FILTER_OF_USER = """# Without this filter, systemd needs CAP_SYS_ADMIN, which containers do not have.
SystemCallFilter=~capset
"""
TIMER = """
[Unit]
Description=Collect metrics and state changes of chrony and NTS every {interval} seconds

[Timer]
OnBootSec=20s
OnUnitActiveSec={interval}s
AccuracySec={accuracy}s

[Install]
WantedBy=timers.target
"""


def service(user: str, groups: Sequence[str], writable: Sequence[str], chronyd: str, as_root_because: str = "") -> str:
    """Return the text of the unit that runs the collector once.

    groups are those that may read the journal, and chronyd is the name of its unit.
    """
    is_root = user == "root"
    return MARK + SERVICE.format(
        program=PROGRAM,
        chronyd=chronyd,
        user=user,
        reason=as_root_because or "chronyd's own user may use its socket, and needs no capability.",
        groups=f"SupplementaryGroups={' '.join(groups)}\n" if groups and not is_root else "",
        state=STATE.rpartition("/")[2],
        capabilities=CAPABILITIES_OF_ROOT if is_root else "",
        filter="" if is_root else FILTER_OF_USER,
        writable=" ".join(f"-{path}" for path in writable),
    )


def timer(interval_seconds: int) -> str:
    """Return the text of the timer. Its accuracy is a tenth of the interval, from 1 to 5 s."""
    return MARK + TIMER.format(interval=interval_seconds, accuracy=max(1, min(5, interval_seconds // 10)))
