# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ACME server (RFC 8555) from Debian's packages: Let's Encrypt's test server pebble, and its DNS server.

The release in Debian testing supports profiles and ARI (RFC 9773); those of bookworm and trixie do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.securetime.nts.tests.functional.unpacked import system

DAY_SECONDS = 86400


class AcmeServer:
    """A pebble that listens on one address and resolves every name to another."""

    def __init__(self, folder: Path, address: str, hosts_at: str) -> None:
        self.folder, self.address, self.hosts_at = folder, address, hosts_at
        ports = free_ports(address, 4)
        self.port, self.management, self.dns, self.dns_management = ports
        self.directory = f"https://{address}:{self.port}/dir"
        # The certificate that pebble's own clients must trust.
        self.listener = folder / "listener.pem"
        self._pebble: subprocess.Popen[bytes] | None = None
        self._dns: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Write pebble's configuration and the certificate of its listener."""
        key = self.folder / "listener.key"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=pebble listener",
                "-addext",
                f"subjectAltName=IP:{self.address}",
                "-keyout",
                str(key),
                "-out",
                str(self.listener),
            ],
            check=True,
            capture_output=True,
        )
        profiles = {"default": 90 * DAY_SECONDS, "shortlived": 6 * DAY_SECONDS}
        config = {
            "listenAddress": f"{self.address}:{self.port}",
            "managementListenAddress": f"{self.address}:{self.management}",
            "certificate": str(self.listener),
            "privateKey": str(key),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "profiles": {name: {"description": name, "validityPeriod": period} for name, period in profiles.items()},
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": config}))

    def start(self) -> None:
        """Start pebble and its DNS server; pebble makes a new root CA at every start."""
        # Long: most lines are the arguments of two programs.
        programs = system("testing", "pebble") / "usr/bin"
        command = [programs / "pebble", "-config", self.folder / "pebble.json", "-dnsserver"]
        # By default pebble refuses 5 % of the nonces, and certbot tries only twice.
        pebble = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "0"}
        environment = {**os.environ, **pebble}
        with (self.folder / "pebble.log").open("ab") as log:
            self._dns = self._dns or subprocess.Popen(
                [
                    programs / "pebble-challtestsrv",
                    "-defaultIPv4",
                    self.hosts_at,
                    "-defaultIPv6",
                    "",
                    "-dnsserver",
                    f"{self.address}:{self.dns}",
                    "-http01",
                    "",
                    "-https01",
                    "",
                    "-tlsalpn01",
                    "",
                    "-doh",
                    "",
                    "-management",
                    f"{self.address}:{self.dns_management}",
                ],
                stdout=log,
                stderr=log,
            )
            self._pebble = subprocess.Popen(
                [*command, f"{self.address}:{self.dns}"], env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.root()
                return
            time.sleep(0.1)
        raise TimeoutError((self.folder / "pebble.log").read_text()[-2000:])

    def stop(self) -> None:
        """Stop pebble; the DNS server keeps running."""
        if self._pebble:
            _end(self._pebble)
            self._pebble = None

    def end(self) -> None:
        """Stop pebble and its DNS server."""
        self.stop()
        if self._dns:
            _end(self._dns)

    def root(self) -> str:
        """Return the root CA of pebble's certificates, in PEM."""
        return self.manage("roots/0")

    def manage(self, path: str, content: Any = None) -> str:
        """Send a request to pebble's management interface."""
        trust = ssl.create_default_context(cafile=str(self.listener))
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(  # nosec: only this server
            f"https://{self.address}:{self.management}/{path}", data, 10, context=trust
        ) as answer:
            return str(answer.read().decode())

    def manage_dns(self, name: str, address: str) -> None:
        """Resolve a name to another address."""
        content = json.dumps({"host": f"{name}.", "addresses": [address]}).encode()
        urllib.request.urlopen(f"http://{self.address}:{self.dns_management}/add-a", content, 10).close()  # nosec

    def want_renewal(self, certificate: str) -> None:
        """Make pebble suggest the renewal of a certificate at once (RFC 9773)."""
        past = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
        content = {"Certificate": certificate, "ARIResponse": json.dumps({"suggestedWindow": past})}
        self.manage("set-renewal-info/", content)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


def free_ports(address: str, count: int) -> list[int]:
    """Return TCP ports that no program uses now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server((address, 0))) for _port in range(count)]
        return [server.getsockname()[1] for server in taken]


@contextlib.contextmanager
def acme_server(folder: Path, address: str, hosts_at: str) -> Iterator[AcmeServer]:
    """Run an ACME server inside the context."""
    server = AcmeServer(folder, address, hosts_at)
    server.prepare()
    try:
        server.start()
        yield server
    finally:
        server.end()
