# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the controller's time with NTS on loopback until the folder is removed, by a chronyd without clock control.

    python -m ansible_collections.securetime.nts.tests.lab.right_time FOLDER

VMs of the lab reach it at 10.0.2.2. FOLDER/ntsport and FOLDER/port hold its ports, FOLDER/ca/chain.pem its trust
anchor.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ansible_collections.securetime.nts.tests.functional.nts_servers import chronyd, make_pair
from ansible_collections.securetime.nts.tests.lab.qemu import CONTROLLER, LIFETIME_SECONDS


def main(folder: Path) -> None:
    """Serve until the folder is gone."""
    folder.mkdir(parents=True)
    authority = make_pair(folder / "ca", name="Right time", authority=True)
    pair = make_pair(folder / "pair", authority, names=[CONTROLLER])
    with chronyd("trixie", folder / "chronyd", pair, ["local stratum 1"]) as server:
        (folder / "port").write_text(str(server.port))
        # The file written last tells a waiting program that both are complete.
        (folder / "ntsport").write_text(str(server.ntsport))
        end = time.monotonic() + LIFETIME_SECONDS
        while folder.exists() and time.monotonic() < end:
            time.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
