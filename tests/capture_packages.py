# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the real apt, dnf and zypper fail in every relevant way, and save their output for the unit tests.

    python3 tests/lab/lab.py up --state .lab/packages deb12=debian12 deb13=debian13 el=el-standin suse=suse-standin
    python3 tests/capture_packages.py .lab/packages/inventory.yml

Writes tests/unit/package_outputs/MANAGER/CASE@IMAGE.json: the expected cause, the command, its exit status, and its
output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

OUTPUTS = Path(__file__).resolve().parent / "unit" / "package_outputs"


class Case(NamedTuple):
    """A failure: its cause in the role's terms, and shell commands on the host."""

    cause: str
    command: str
    before: str = "true"
    after: str = "true"


# An HTTP server without files (8080), a TLS server (8443), and a server that accepts connections and never answers
# (8081).
SERVERS = """
mkdir -p /run/case/empty; cd /run/case
cat >servers.py <<'END'
import functools, http.server, os, socket, ssl, sys, threading
os.chdir('/run/case/empty')
silent = socket.create_server(('127.0.0.1', 8081), backlog=0)
def serve(port, context=None):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', port), http.server.SimpleHTTPRequestHandler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
if os.path.exists('/run/case/tls.pem'):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain('/run/case/tls.pem')
    threading.Thread(target=serve, args=(8443, context), daemon=True).start()
serve(8080)
END
systemctl stop case-servers 2>/dev/null
systemd-run --quiet --collect --unit=case-servers python3 /run/case/servers.py
for try in $(seq 50); do
  python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8080), 1)' 2>/dev/null && break; sleep 0.1
done
"""
END_SERVERS = "systemctl stop case-servers; rm -rf /run/case"


def certificate(start: str, end: str) -> str:
    """Return commands that make a certificate for localhost, which the host trusts except for its dates."""
    return f"""
mkdir -p /run/case; cd /run/case; : >index; echo 01 >serial
printf '[ca]\\ndefault_ca=c\\n[c]\\nnew_certs_dir=.\\ndatabase=index\\nserial=serial\\ndefault_md=sha256\\n' >ca.conf
printf 'policy=p\\nx509_extensions=e\\n[p]\\ncommonName=supplied\\n[e]\\nsubjectAltName=DNS:localhost\\n' >>ca.conf
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key -out request
openssl ca -batch -config ca.conf -selfsign -keyfile key -in request -out cert -notext -startdate {start} -enddate {end}
cat key cert >tls.pem
cp cert /usr/local/share/ca-certificates/case.crt; update-ca-certificates
"""


UNTRUST = "; rm -f /usr/local/share/ca-certificates/case.crt; update-ca-certificates --fresh >/dev/null 2>&1"
EXPIRED = certificate("20200101000000Z", "20200201000000Z")
EARLY = certificate("20900101000000Z", "20910101000000Z")
UNKNOWN_CA = (
    certificate("20200101000000Z", "20910101000000Z")
    + "rm -f /usr/local/share/ca-certificates/case.crt; update-ca-certificates --fresh"
)

APT = "apt-get --quiet --yes"
APT_UPDATE = "apt-get --quiet -o APT::Update::Error-Mode=any -o Acquire::Retries=0 -o Acquire::http::Timeout=3 update"


def apt_source(url: str, options: str = "trusted=yes") -> str:
    """Return commands that leave apt only one repository."""
    return f"mv /etc/apt/sources.list /etc/apt/case; echo 'deb [{options}] {url} ./' >/etc/apt/sources.list"


APT_BACK = "mv /etc/apt/case /etc/apt/sources.list; " + END_SERVERS


def release(dates: str) -> str:
    """Return commands that make an empty apt repository with these dates."""
    return f"""
cd /run/case/empty; : >Packages; sum=$(sha256sum Packages | cut -d' ' -f1)
printf 'Origin: case\\nSuite: case\\n{dates}\\nSHA256:\\n %s 0 Packages\\n' $sum >Release
"""


HOLD_APT = """python3 - <<'END' &
import fcntl, time
file = open('{}', 'r+')
fcntl.lockf(file, fcntl.LOCK_EX)
time.sleep({})
END
sleep 1"""

CASES: dict[str, dict[str, Case]] = {
    "apt": {
        "unknown_package": Case("unknown", f"{APT} install no-such-package"),
        "unknown_version": Case("unknown", f"{APT} install chrony=0.1-1"),
        "no_candidate": Case(
            "unknown",
            f"{APT} install chrony",
            "mv /var/lib/apt/lists /run/lists; mkdir /var/lib/apt/lists",
            "rm -r /var/lib/apt/lists; mv /run/lists /var/lib/apt/lists",
        ),
        "refused": Case("network", APT_UPDATE, apt_source("http://127.0.0.1:9/"), APT_BACK),
        "unresolved": Case("network", APT_UPDATE, apt_source("http://mirror.invalid/"), APT_BACK),
        "silent": Case("network", APT_UPDATE, SERVERS + apt_source("http://127.0.0.1:8081/"), APT_BACK),
        "proxy": Case(
            "network",
            "http_proxy=http://127.0.0.1:9 " + APT_UPDATE,
            apt_source("http://mirror.example.org/debian"),
            APT_BACK,
        ),
        "not_found": Case("repository", APT_UPDATE, SERVERS + apt_source("http://127.0.0.1:8080/"), APT_BACK),
        "not_signed": Case(
            "signature",
            APT_UPDATE,
            SERVERS
            + release("Date: Sat, 01 Jan 2022 00:00:00 UTC")
            + apt_source("http://127.0.0.1:8080/", "trusted=no"),
            APT_BACK,
        ),
        "not_yet_valid": Case(
            "clock",
            APT_UPDATE,
            SERVERS + release("Date: Sat, 01 Jan 2090 00:00:00 UTC") + apt_source("http://127.0.0.1:8080/"),
            APT_BACK,
        ),
        "expired": Case(
            "clock",
            APT_UPDATE,
            SERVERS
            + release("Date: Wed, 01 Jan 2020 00:00:00 UTC\\nValid-Until: Sat, 01 Feb 2020 00:00:00 UTC")
            + apt_source("http://127.0.0.1:8080/"),
            APT_BACK,
        ),
        "tls_expired": Case(
            "clock", APT_UPDATE, EXPIRED + SERVERS + apt_source("https://localhost:8443/"), APT_BACK + UNTRUST
        ),
        "tls_not_yet_valid": Case(
            "clock", APT_UPDATE, EARLY + SERVERS + apt_source("https://localhost:8443/"), APT_BACK + UNTRUST
        ),
        "tls_unknown": Case(
            "certificate", APT_UPDATE, UNKNOWN_CA + "\n" + SERVERS + apt_source("https://localhost:8443/"), APT_BACK
        ),
        "locked": Case("lock", f"{APT} install tree", HOLD_APT.format("/var/lib/dpkg/lock-frontend", 15), "wait"),
        "lists_locked": Case("lock", APT_UPDATE, HOLD_APT.format("/var/lib/apt/lists/lock", 15), "wait"),
        "held": Case("held", f"{APT} install chrony", "apt-mark hold chrony", "apt-mark unhold chrony"),
        "interrupted": Case(
            "interrupted", f"{APT} install chrony", "touch /var/lib/dpkg/updates/0000", "rm /var/lib/dpkg/updates/0000"
        ),
        "no_space": Case(
            "space",
            f"{APT} install chrony",
            "mount -t tmpfs -o size=64k case /var/cache/apt/archives",
            "umount -l /var/cache/apt/archives",
        ),
        "read_only": Case(
            "read-only",
            f"{APT} install chrony",
            "mkdir -p /run/db; cp -a /var/lib/dpkg/. /run/db; mount -t tmpfs case /var/lib/dpkg;"
            " cp -a /run/db/. /var/lib/dpkg; mount -o remount,ro /var/lib/dpkg",
            "umount -l /var/lib/dpkg; rm -r /run/db",
        ),
        "dependencies": Case(
            "dependencies",
            f"{APT} install gnutls-bin",
            "printf 'Package: libunbound8\\nPin: release *\\nPin-Priority: -1\\n' >/etc/apt/preferences.d/case",
            "rm /etc/apt/preferences.d/case",
        ),
    },
}

DNF = "dnf --assumeyes --setopt=exit_on_lock=true"


def dnf_source(url: str, more: str = "gpgcheck=0") -> str:
    """Return commands that leave dnf only one repository."""
    return (
        "mv /etc/yum.repos.d /etc/case; mkdir /etc/yum.repos.d;"
        f" printf '[case]\\nname=case\\nbaseurl={url}\\n{more}\\ntimeout=3\\nretries=1\\n' >/etc/yum.repos.d/case.repo"
    )


DNF_BACK = "rm -r /etc/yum.repos.d; mv /etc/case /etc/yum.repos.d; rm -rf /var/cache/dnf/case*; " + END_SERVERS
CASES["dnf"] = {
    "unknown_package": Case("unknown", f"{DNF} install no-such-package"),
    "unknown_version": Case("unknown", f"{DNF} install chrony-0.1"),
    "refused": Case("network", f"{DNF} install chrony", dnf_source("http://127.0.0.1:9/"), DNF_BACK),
    "unresolved": Case("network", f"{DNF} install chrony", dnf_source("http://mirror.invalid/"), DNF_BACK),
    "silent": Case("network", f"{DNF} install chrony", SERVERS + dnf_source("http://127.0.0.1:8081/"), DNF_BACK),
    "not_found": Case("repository", f"{DNF} install chrony", SERVERS + dnf_source("http://127.0.0.1:8080/"), DNF_BACK),
    "no_repositories": Case(
        "repository", f"{DNF} install chrony", "mv /etc/yum.repos.d /etc/case; mkdir /etc/yum.repos.d", DNF_BACK
    ),
    "tls_expired": Case(
        "clock", f"{DNF} install chrony", EXPIRED + SERVERS + dnf_source("https://localhost:8443/"), DNF_BACK + UNTRUST
    ),
    "tls_not_yet_valid": Case(
        "clock", f"{DNF} install chrony", EARLY + SERVERS + dnf_source("https://localhost:8443/"), DNF_BACK + UNTRUST
    ),
    "tls_unknown": Case(
        "certificate",
        f"{DNF} install chrony",
        UNKNOWN_CA + "\n" + SERVERS + dnf_source("https://localhost:8443/"),
        DNF_BACK,
    ),
    "not_signed": Case("signature", f"{DNF} install chrony", dnf_source("file:///srv/rpm", "gpgcheck=1"), DNF_BACK),
    "locked": Case(
        "lock",
        f"{DNF} --disablerepo=case install chrony",
        SERVERS
        + "printf '[case]\\nname=case\\nbaseurl=http://127.0.0.1:8081/\\ntimeout=8\\n' >/etc/yum.repos.d/case.repo;"
        " timeout 8 dnf makecache & sleep 3",
        "wait; rm /etc/yum.repos.d/case.repo; " + END_SERVERS,
    ),
    "held": Case(
        "held",
        f"{DNF} install chrony",
        "cp /etc/dnf/dnf.conf /run/case.conf; echo excludepkgs=chrony >>/etc/dnf/dnf.conf",
        "mv /run/case.conf /etc/dnf/dnf.conf",
    ),
    "no_space": Case(
        "space",
        f"{DNF} install chrony",
        SERVERS
        + "cp -a /srv/rpm/. /run/case/empty; "
        + dnf_source("http://127.0.0.1:8080/")
        + "; mkdir -p /var/cache/dnf; mount -t tmpfs -o size=256k case /var/cache/dnf",
        "umount -l /var/cache/dnf; " + DNF_BACK,
    ),
}

ZYPPER = "zypper --non-interactive"


def zypper_source(url: str, more: str = "gpgcheck=0") -> str:
    """Return commands that leave zypper only one repository."""
    return (
        "mv /etc/zypp/repos.d /etc/zypp/case; mkdir /etc/zypp/repos.d; printf"
        f" '[case]\\nname=case\\nenabled=1\\nautorefresh=1\\nbaseurl={url}\\ntype=rpm-md\\n{more}\\n'"
        " >/etc/zypp/repos.d/case.repo"
    )


ZYPPER_BACK = (
    "rm -r /etc/zypp/repos.d; mv /etc/zypp/case /etc/zypp/repos.d; rm -rf /var/cache/zypp/*/case*; " + END_SERVERS
)
CASES["zypper"] = {
    "unknown_package": Case("unknown", f"{ZYPPER} install no-such-package"),
    "unknown_version": Case("unknown", f"{ZYPPER} install chrony=0.1"),
    "refused": Case("network", f"{ZYPPER} install chrony", zypper_source("http://127.0.0.1:9/"), ZYPPER_BACK),
    "unresolved": Case("network", f"{ZYPPER} install chrony", zypper_source("http://mirror.invalid/"), ZYPPER_BACK),
    "not_found": Case(
        "repository", f"{ZYPPER} install chrony", SERVERS + zypper_source("http://127.0.0.1:8080/"), ZYPPER_BACK
    ),
    "no_repositories": Case(
        "repository",
        f"{ZYPPER} install chrony",
        "mv /etc/zypp/repos.d /etc/zypp/case; mkdir /etc/zypp/repos.d",
        ZYPPER_BACK,
    ),
    "tls_expired": Case(
        "clock",
        f"{ZYPPER} install chrony",
        EXPIRED + SERVERS + zypper_source("https://localhost:8443/"),
        ZYPPER_BACK + UNTRUST,
    ),
    "tls_not_yet_valid": Case(
        "clock",
        f"{ZYPPER} install chrony",
        EARLY + SERVERS + zypper_source("https://localhost:8443/"),
        ZYPPER_BACK + UNTRUST,
    ),
    "tls_unknown": Case(
        "certificate",
        f"{ZYPPER} install chrony",
        UNKNOWN_CA + "\n" + SERVERS + zypper_source("https://localhost:8443/"),
        ZYPPER_BACK,
    ),
    "not_signed": Case(
        "signature", f"{ZYPPER} install chrony", zypper_source("dir:///srv/rpm", "gpgcheck=1"), ZYPPER_BACK
    ),
    "locked": Case(
        "lock",
        f"{ZYPPER} install chrony",
        SERVERS + zypper_source("http://127.0.0.1:8081/") + f"; timeout 8 {ZYPPER} refresh & sleep 2",
        "wait; " + ZYPPER_BACK,
    ),
    "held": Case("held", f"{ZYPPER} install chrony", "zypper addlock chrony", "zypper removelock chrony"),
    "no_space": Case(
        "space",
        f"{ZYPPER} install chrony",
        SERVERS
        + "cp -a /srv/rpm/. /run/case/empty; "
        + zypper_source("http://127.0.0.1:8080/")
        + "; mkdir -p /var/cache/zypp; mount -t tmpfs -o size=256k case /var/cache/zypp",
        "umount -l /var/cache/zypp; " + ZYPPER_BACK,
    ),
}
# Here the program does not name the wrong date: OpenSSL in apt 3, GnuTLS in the libcurl of dnf.
SILENT = {("tls_expired", "debian13"), ("tls_not_yet_valid", "debian13"), ("tls_not_yet_valid", "el-standin")}
# The package manager of each image.
MANAGERS = {"debian12": "apt", "debian13": "apt", "el-standin": "dnf", "suse-standin": "zypper"}


def run(container: str, case: Case) -> tuple[int, str]:
    """Run a case in a container and restore the container; return the exit status and the output."""
    script = f"""
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
{{ {case.before}
}} >/run/before 2>&1
{{ {case.command} </dev/null
}} >/run/output 2>&1
status=$?
{{ {case.after}
}} >/run/after 2>&1
cat /run/output
exit $status"""
    done = subprocess.run(
        ["podman", "exec", "--privileged", container, "bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def main() -> int:
    """Capture the cases that the arguments after the inventory name, or all."""
    wanted = sys.argv[2:]
    for host in yaml.safe_load(Path(sys.argv[1]).read_text())["all"]["hosts"].values():
        image = host["lab_image"]
        for name, case in CASES[MANAGERS[image]].items():
            if wanted and name not in wanted:
                continue
            status, output = run(host["lab_container"], case)
            cause = "certificate" if (name, image) in SILENT else case.cause
            row = {"cause": cause, "command": case.command, "status": status, "output": output.splitlines()}
            path = OUTPUTS / MANAGERS[image] / f"{name}@{image}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row, indent=1) + "\n")
            print(f"{path.relative_to(OUTPUTS)}: {status}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
