# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Compare a host's clock with the controller's before the role changes the host.

Package managers, TLS and certificates need a clock that is roughly right. chronyd sets it, but only after its
installation, and the role makes a server's certificates before that. No function here decides which of two clocks is
wrong: the controller's can be wrong as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs

Row = dict[str, Any]

# The role backdates a server's certificate by as much. A wrong time zone of the hardware clock shifts it by at least
# as much.
TOLERATED_SECONDS = 3600.0
# apt rejects a Release file that is further in the future than this (Acquire::Max-FutureTime).
AGREES_SECONDS = 10.0
UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
VARIABLE = "chrony_nts_clock_from_controller"
# Error messages about dates in the past or in the future: apt and sqv, dnf's curl and OpenSSL, rpm's Sequoia.
ABOUT_DATES = re.compile(
    r"not (yet )?valid|not valid yet|not live until|invalid for another|expired|in the future|certificate problem"
    r"|certificate verif|Curl error \((35|60)\)",
    re.IGNORECASE,
)


def ahead_seconds(host: float, before: float, after: float) -> float:
    """Return by how many seconds the clock of a host is ahead of the controller's.

    The host reads its clock between two readings of the controller's clock, in seconds since 1970. Return the least
    difference that these readings allow. Above the tolerance, compare with the later reading: the module reads the
    clock at its end, after Ansible has sent and started it.
    """
    least = min(0.0, host - before) + max(0.0, host - after)
    return host - after if abs(least) > TOLERATED_SECONDS else least


def add(planned: Row, inputs: Inputs, chrony: Row, before: float, after: float) -> None:
    """Add `clock` to a host's plan. before and after are the controller's clock around the call that read the facts."""
    if "pairs" not in planned:
        # The plan stops early on an unknown platform.
        return
    ahead = ahead_seconds(float(chrony["environment"]["clock"]["time"]), before, after)
    clock = planned["clock"] = compare(inputs, planned, chrony, ahead, after)
    planned["notes"] += filter(None, [clock["note"]])
    planned["problems"] += filter(None, [clock["problem"]])


def compare(inputs: Inputs, planned: Row, chrony: Row, ahead: float, now: float) -> Row:
    """Return the difference of a host's clock, with `problem` (why the role refuses the host), `note`, `step_seconds`.

    planned is the plan of the host, chrony its facts, and now the controller's clock.
    """
    difference = f"The clock of this host ({utc(now + ahead)}) is {length(ahead)} the controller's ({utc(now)})"
    clock: Row = {"ahead_seconds": ahead, "step_seconds": 0, "problem": "", "note": ""}
    if abs(ahead) <= TOLERATED_SECONDS:
        return clock
    follows = synchronised_by(chrony)
    if follows:
        text = f"{difference}, and {follows} has synchronised it. Check the controller's clock."
        made = _made_by_controller(planned, chrony)
        if not made:
            return {**clock, "note": text}
        return {**clock, "problem": f"{text} {made}, whose dates would be the controller's. Nothing was changed."}
    reasons = list(_impossible(inputs, planned, ahead))
    environment = chrony["environment"]
    whose = _not_its_own(environment)
    if not reasons:
        # chronyd corrects the clock by `makestep`. With -x it only measures.
        corrects = "chronyd corrects it" if planned["clock_control"] else whose or "chronyd does not set it (-x)"
        return {**clock, "note": f"{difference}. {corrects}."}
    step = round(-ahead)
    if inputs.is_true("clock_from_controller") and not whose:
        return {**clock, "step_seconds": step, "note": f"{difference}. {VARIABLE} is true, and the role sets it."}
    correct = f"{whose}: correct it there" if whose else "Correct the clock that is wrong, on this host"
    otherwise = "" if whose else f", or set {VARIABLE} to true"
    return {
        **clock,
        "problem": (
            f"{difference}. With it, {', and '.join(reasons)}. Nothing was changed."
            f" {correct} by `{command(step)}`{otherwise}."
        ),
    }


def command(step_seconds: int) -> str:
    """Return the command that steps a clock by a relative time, so that it is correct at any later time."""
    return f"date --set='{step_seconds:+d} seconds'"


def synchronised_by(chrony: Row) -> str:
    """Return the name of the time daemon that has synchronised the host's clock; empty if none has."""
    tracking = chrony.get("tracking") or {}
    # With -x, chronyd follows its sources, but does not change the clock.
    sets = chrony["daemon"].get("clock_control") is not False
    if sets and tracking.get("synchronised") and abs(tracking.get("offset_seconds") or 0.0) < TOLERATED_SECONDS:
        return "chronyd"
    return "systemd-timesyncd" if chrony["environment"]["clock"]["timesyncd_synchronised"] else ""


def explained(message: str, clock: Mapping[str, Any], now: float | None = None) -> str:
    """Return the message of a package manager; append the host's clock if the message is about a date."""
    if not ABOUT_DATES.search(message):
        return message
    moment = time.time() if now is None else now
    ahead = float(clock["ahead_seconds"]) + int(clock["step_seconds"])
    difference = "as by the controller's: if both are wrong, correct both"
    if abs(ahead) > AGREES_SECONDS:
        difference = f"{length(ahead)} the controller's: if it is wrong, correct it by `{command(round(-ahead))}`"
    return (
        f"{message.rstrip()}\nBy the clock of this host it was {utc(moment + ahead)}, {difference}, and run this again."
    )


def length(ahead: float) -> str:
    """Return a difference of clocks in words, for example "31 days behind"."""
    unit, seconds = next((row for row in UNITS if abs(ahead) >= 2 * row[1]), UNITS[-1])
    return f"{abs(ahead) / seconds:.0f} {unit} {'ahead of' if ahead > 0 else 'behind'}"


def utc(moment: float) -> str:
    """Return a time as text, to the minute. A clock can be out of the range of years that Python supports."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
    except (OverflowError, ValueError, OSError):
        return f"{moment:.0f} s after 1970"


def _made_by_controller(planned: Row, chrony: Row) -> str:
    """Return the beginning of a sentence about the issuing CA that the controller must sign; empty if it signs none."""
    signs = (
        any(pair["provider"] == "ownca" for pair in planned["pairs"]) and not chrony["environment"]["own_ca"]["issues"]
    )
    return "The controller is to sign this server's issuing CA" if signs else ""


def _impossible(inputs: Inputs, planned: Row, ahead: float) -> Iterator[str]:
    """Yield what fails until the clock is roughly right."""
    if planned["missing_packages"]:
        yield f"{', '.join(planned['missing_packages'])} cannot be installed"
    if planned["pairs"]:
        yield "the server's certificates cannot be made or checked"
    if not inputs.sources and not inputs.directives.get("refclock"):
        return
    if any(source["nts"] for source in inputs.sources) and int(inputs["nocerttimecheck"]) == 0:
        yield "chronyd accepts no certificate (chrony_nts_nocerttimecheck is 0)"
    if planned["clock_control"] and not _may_step(inputs.directives, abs(ahead)):
        yield "chronyd does not step it (makestep in chrony_nts_directives)"


def _may_step(directives: Mapping[str, Any], seconds: float) -> bool:
    """Return whether chronyd at its start steps a clock that is off by this many seconds."""
    step = directives.get("makestep", {"threshold": 1.0, "limit": 3})
    if directives.get("initstepslew"):
        return True
    return bool(step) and int(step["limit"]) != 0 and float(step["threshold"]) < seconds


def _not_its_own(environment: Row) -> str:
    """Return why no program can set the clock of this host; empty if one can."""
    if environment["container"] is not None:
        return f"This is a container ({environment['container']}), whose clock is that of the host that runs it"
    if environment["cap_sys_time"] is False:
        return "CAP_SYS_TIME is missing, so this host's clock is that of the host that runs it"
    return ""
