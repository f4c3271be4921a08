# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of certificate and key on the servers of the lab, and the certificates that a client accepts."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import run_module, write

TRUSTED = "/etc/chrony/nts/trusted.pem"
SETTINGS = "/etc/chrony/nts/certificate.json"


def leaf(client: Host, server: str, **options: Any) -> dict[str, Any]:
    """Return the certificate that a server serves; assert that the client accepts it and gets authenticated time."""
    probe = run_module(client, "nts_probe", **{"server": server, "timeout": 60.0, **options})
    assert probe["ok"], probe
    assert probe["stages"]["ntp"]["state"] == "ok", probe
    return dict(probe["tls"]["certificates"][0])


def pair(folder: Path, *options: str, names: str = "DNS:nts1") -> tuple[str, str]:
    """Make a self-signed pair (`pem` and `key`) in a new folder; return certificate and key."""
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-subj", "/CN=own", "-addext", f"subjectAltName={names}", "-keyout", "key", "-out", "pem"]
    subprocess.run([*command, *options], check=True, cwd=folder, capture_output=True)
    return (folder / "pem").read_text(), (folder / "key").read_text()


@contextlib.contextmanager
def renewed_at(host: Host, fraction: float) -> Iterator[None]:
    """Make certificates due for renewal at this remaining fraction of their lifetime."""
    text = host.file(SETTINGS).content_string
    pairs = [{**found, "renew_fraction": fraction} for found in json.loads(text)["pairs"]]
    write(host, f"cat >{SETTINGS}", json.dumps({"pairs": pairs}))
    try:
        yield
    finally:
        write(host, f"cat >{SETTINGS}", text)
