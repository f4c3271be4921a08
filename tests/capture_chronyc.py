# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring real chronyds into every relevant state, and save chronyc's output as text for the unit tests.

    PYTHONPATH=.build/collections python3 tests/capture_chronyc.py [--suite SUITE ...] [--root FOLDER ...]
        [--state NAME ...] [--chronyc FOLDER]

Needs root on Linux and Debian's mmdebstrap, openssl, iproute2 and util-linux. The program unpacks chrony from the
package of each Debian suite (default: bookworm, trixie) and does not install it. --root names a folder as `make install
DESTDIR=FOLDER` leaves it. Everything runs in separate namespaces without a network and without the right to set the
clock, and nothing stays behind. Takes five minutes for each version.

Writes tests/unit/captures/VERSION/STATE.json: chronyc's output for each command, chronyd's log, and the state's origin.
With --chronyc of another version than chronyd, VERSION is "CHRONYD-by-CHRONYC".

Long: one function for each state; the docstrings of these functions are part of the captures.
"""

import argparse
import contextlib
import datetime as dt
import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import (
    NO_NAME,
    OPTIONAL,
    REPORTS,
    SOURCES,
    WAY_QUESTION,
    Conversation,
)
from ansible_collections.securetime.nts.tests.functional.unpacked import loader, unpack

CAPTURES = Path(__file__).resolve().parent / "unit" / "captures"
INSIDE = "SECURETIME_NTS_CAPTURE"

ADDRESSES = {
    "nts1.test": "10.77.0.1",
    "nts2.test": "10.77.0.2",
    "plain.test": "10.77.0.3",
    "other.test": "10.77.0.1",
}
POOL = "pool.test"
FAST = "iburst minpoll 0 maxpoll 0"
NTS_KE_PORT = 4460
SYNCHRONISED = "local stratum 5\nallow"

Row = list[str]
Pair = tuple[Path, Path]


def main() -> None:
    """Enter the namespaces and capture there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--root", action="append", default=[], type=Path)
    parser.add_argument("--chronyc", type=Path, help="the folder of another chronyc")
    parser.add_argument("--state", action="append", choices=sorted(STATES))
    parser.add_argument("--aptopt", action="append", default=[], help="passed on to mmdebstrap")
    wanted = parser.parse_args()
    if INSIDE in os.environ:
        for state in wanted.state or STATES:
            for left in (2, 1, 0):
                begin = time.monotonic()
                try:
                    target = Lab(Path(os.environ[INSIDE]), wanted.chronyc).capture(state)
                except NotReachedError as error:
                    print(f"{state}: {error}, after {time.monotonic() - begin:.1f} s, {left} attempts left", flush=True)
                    continue
                print(f"{target.relative_to(CAPTURES)}: {time.monotonic() - begin:.1f} s", flush=True)
                break
            else:
                raise SystemExit(f"{state} is not reached")
        return
    with tempfile.TemporaryDirectory(prefix="capture-chronyc-") as folder:
        Path(folder).chmod(0o755)
        suites = wanted.suite or ([] if wanted.root else ["bookworm", "trixie"])
        for root in [*(unpack(suite, Path(folder), wanted.aptopt) for suite in suites), *wanted.root]:
            command = ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", "unshare", "--net", "--mount"]
            command += ["--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
            subprocess.run(command, check=True, env={**os.environ, INSIDE: str(root), "TMPDIR": folder})


class Authority:
    """A CA that signs for any dates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.certificate = folder / "ca.pem"
        self._openssl("req", "-x509", *self._new_key("ca"), "-out", "ca.pem", "-subj", "/CN=Test CA")
        (folder / "index.txt").touch()
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\nrand_serial=yes\n"
            "unique_subject=no\npolicy=p\n[p]\ncommonName=supplied\n"
        )

    def _new_key(self, label: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{label}.key"]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, cwd=self.folder, capture_output=True)

    def issue(self, name: str, first_day: int = -1, last_day: int = 30) -> Pair:
        """Return a new certificate and its key; the days are relative to today."""
        label = f"{name}{len(list(self.folder.iterdir()))}"
        now = dt.datetime.now(dt.timezone.utc)
        first, last = ((now + dt.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (first_day, last_day))
        (self.folder / "names.cnf").write_text(f"subjectAltName=DNS:{name},DNS:{POOL}\n")
        self._openssl("req", *self._new_key(label), "-out", f"{label}.csr", "-subj", f"/CN={name}")
        signing = ["-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"]
        validity = ["-extfile", "names.cnf", "-startdate", first, "-enddate", last]
        self._openssl("ca", *signing, *validity, "-in", f"{label}.csr", "-out", f"{label}.pem")
        return self.folder / f"{label}.pem", self.folder / f"{label}.key"


class NotReachedError(Exception):
    """The daemons did not reach a state, which can happen when two clocks are compared; main() tries again."""


class Lab:
    """Servers and a client of one chrony version."""

    def __init__(self, root: Path, client_root: Path | None = None) -> None:
        self.root = root
        self.client_root = client_root or root
        self.folder = Path(tempfile.mkdtemp(prefix=f"{root.name}-"))
        self.folder.chmod(0o755)
        self.authority = Authority(self.folder / "ca")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.client_started: float | None = None
        self.configuration = ""
        self.asks_as_nobody = False
        self.cleanup = contextlib.ExitStack()
        self._set_up_network()
        self._write_programs()

    def _set_up_network(self) -> None:
        hosts = [f"{address} {name}" for name, address in ADDRESSES.items()]
        hosts += [f"{ADDRESSES[name]} {POOL}" for name in ("nts1.test", "nts2.test")]
        files = {
            "hosts": "\n".join(["127.0.0.1 localhost", *hosts, ""]),
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
            # Since 4.8 chronyc switches to the user of its build. Here that user is root, as is chronyd's.
            "passwd": "root:x:0:0::/:/bin/sh\n_chrony:x:0:0::/:/bin/sh\n",
            "group": "root:x:0:\n",
        }
        commands = [["mount", "-t", "tmpfs", "none", "/run"], ["ip", "link", "set", "lo", "up"]]
        commands += [["ip", "addr", "replace", f"{address}/32", "dev", "lo"] for address in set(ADDRESSES.values())]
        for name, text in files.items():
            (self.folder / name).write_text(text)
            commands.append(["mount", "--bind", str(self.folder / name), f"/etc/{name}"])
        for command in commands:
            subprocess.run(command, check=True)

    def _write_programs(self) -> None:
        """Write wrappers that run the programs with the libraries of their own suite."""
        nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups "
        for name, prefix, root, program in (
            ("chronyd", "", self.root, "usr/sbin/chronyd"),
            ("chronyc", "", self.client_root, "usr/bin/chronyc"),
            ("chronyc-as-nobody", nobody, self.client_root, "usr/bin/chronyc"),
        ):
            path = self.folder / name
            path.write_text(f'#!/bin/sh\nexec {prefix}{" ".join(loader(root))} {root / program} "$@"\n')
            path.chmod(0o755)

    def start(self, name: str, configuration: str) -> None:
        """Start a chronyd without control of the clock."""
        path = self.folder / f"{name}.conf"
        path.write_text(f"pidfile /run/{name}.pid\n{configuration}\n")
        with (self.folder / f"{name}.log").open("w") as log:
            command = [str(self.folder / "chronyd"), "-x", "-d", "-u", "root", "-f", str(path)]
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self, *names: str) -> None:
        """Stop daemons as systemd does."""
        for name in names or list(self.running):
            process = self.running.pop(name)
            process.terminate()
            process.wait(timeout=10)

    def server(self, name: str, more: str = SYNCHRONISED, pair: Pair | None = None) -> None:
        """Start an NTS server and wait until it listens."""
        certificate, key = pair or self.authority.issue(name)
        sockets = f"bindaddress {ADDRESSES[name]}\nbindcmdaddress /\ncmdport 0\n"
        self.start(name, f"{sockets}ntsservercert {certificate}\nntsserverkey {key}\n{more}")
        for _attempt in range(100):
            with contextlib.suppress(OSError), socket.create_connection((ADDRESSES[name], NTS_KE_PORT), 1):
                return
            time.sleep(0.05)
        raise SystemExit(f"{name} does not listen")

    def dump(self, name: str) -> str:
        """Return the directive that lets a daemon save its keys or cookies."""
        (self.folder / f"dump-{name}").mkdir(exist_ok=True)
        return f"ntsdumpdir {self.folder / f'dump-{name}'}"

    def client(self, *lines: str, trust: bool = True) -> None:
        """Start the client."""
        self.configuration = "\n".join([*([f"ntstrustedcerts {self.authority.certificate}"] if trust else []), *lines])
        self.client_started = time.time()
        self.start("client", self.configuration)

    def ask(self, *commands: str, arguments: Sequence[str] = ()) -> list[str]:
        """Return the output of chronyc for each command."""
        program = self.folder / ("chronyc-as-nobody" if self.asks_as_nobody else "chronyc")
        with Conversation(str(program), 30.0, arguments) as conversation:
            return conversation.ask(commands)

    def until(self, report: str, wanted: Callable[[list[Row]], object], seconds: float = 40.0) -> None:
        """Wait until the rows of a report satisfy a condition."""
        end = time.monotonic() + seconds
        answer = ""
        while time.monotonic() < end:
            answer = self.ask(report)[0]
            with contextlib.suppress(IndexError, ValueError):
                if wanted([line.split(",") for line in answer.splitlines()]):
                    return
            time.sleep(0.02)
        raise NotReachedError(f"{report} is not as wanted after {seconds:g} s: {answer}")

    def followed(self, number: int = 1) -> None:
        """Wait until chronyd follows this number of sources and each has answered its last eight polls."""
        self.until("sources", lambda rows: sum(row[1] in "*+" and row[5] == "377" for row in rows) == number)

    def logged(self, text: str, seconds: float = 40.0) -> None:
        """Wait until the client has logged a text and has noticed the end of the key exchange at its next poll."""
        end = time.monotonic() + seconds
        while text not in (self.folder / "client.log").read_text():
            if time.monotonic() > end:
                raise NotReachedError(f"the client did not log {text!r}: {(self.folder / 'client.log').read_text()}")
            time.sleep(0.05)
        time.sleep(2.5)

    def listen(self, answer: bytes | None) -> None:
        """Listen in place of nts1.test's NTS-KE server; send nothing, or always the same answer."""
        listener = socket.create_server((ADDRESSES["nts1.test"], NTS_KE_PORT))
        self.cleanup.callback(listener.close)
        # After close alone, the port stays open as long as the thread below waits in accept().
        self.cleanup.callback(listener.shutdown, socket.SHUT_RDWR)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    connection.sendall(answer or b"")
                    self.cleanup.callback(connection.close)

        threading.Thread(target=serve, daemon=True).start()

    def capture(self, state: str) -> Path:
        """Reach a state and write chronyc's reports about it; return the path of the capture."""
        # Long: one dictionary collects everything that a capture records.
        with self.cleanup:
            self.cleanup.callback(self.stop)
            STATES[state](self)
            reports = [*REPORTS, *(report for more in OPTIONAL.values() for report in more)]
            commands = [WAY_QUESTION, *(report.command for report in reports)]
            answers = self.ask(*commands)
            rows = dict(zip(commands, answers, strict=True))[SOURCES.command].splitlines()
            commands += [f"sourcename {row.split(',')[2]}" for row in rows if row[0] in "^="]
            answers += self.ask(*commands[len(answers) :])
            if NO_NAME in answers:
                commands.append(f"-N {SOURCES.command}")
                answers += self.ask(SOURCES.command, arguments=["-N"])
            captured = time.time()
            client_log = (self.folder / "client.log").read_text() if self.client_started else ""
        banner, client_banner = (
            subprocess.run([self.folder / name, "-v"], check=True, capture_output=True, text=True).stdout
            for name in ("chronyd", "chronyc")
        )
        version, client_version = banner.split()[3], client_banner.split()[3]
        package = None
        with (
            contextlib.suppress(OSError),
            gzip.open(self.root / "usr/share/doc/chrony/changelog.Debian.gz", "rt") as log,
        ):
            package = log.readline().split()[1].strip("()")
        folder = version if client_version == version else f"{version}-by-{client_version}"
        target = CAPTURES / folder / f"{state}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        capture = {
            "state": STATES[state].__doc__,
            "how": "tests/capture_chronyc.py",
            "date": dt.datetime.fromtimestamp(captured, dt.timezone.utc).isoformat(timespec="seconds"),
            "version": version,
            "package": package,
            "banner": banner.strip(),
            "captured": round(captured, 1),
            "uptime_seconds": round(captured - self.client_started, 1) if self.client_started else None,
            "client": self.configuration.splitlines(),
            "log": client_log.splitlines(),
            "answers": dict(zip(commands, [answer.splitlines() for answer in answers], strict=True)),
        }
        target.write_text(json.dumps(capture, indent=1).replace(str(self.folder), "/tmp/lab") + "\n")
        return target


def healthy(lab: Lab) -> None:
    """Two servers with NTS, eight polls each."""
    lab.server("nts1.test")
    lab.server("nts2.test")
    lab.client(f"server nts1.test nts {FAST}", f"server nts2.test nts {FAST}")
    lab.followed(2)


def healthy_pool(lab: Lab) -> None:
    """A pool with NTS that has two addresses, and places for more."""
    lab.server("nts1.test")
    lab.server("nts2.test")
    lab.client(f"pool {POOL} nts {FAST} maxsources 4")
    lab.followed(2)


def just_started(lab: Lab) -> None:
    """The first moment of a client of two servers with NTS."""
    lab.server("nts1.test")
    lab.server("nts2.test")
    lab.client("server nts1.test nts iburst", "server nts2.test nts iburst")
    lab.until("sources -a", lambda rows: len(rows) == 2)


def first_answers(lab: Lab) -> None:
    """Authenticated answers have come, and are too few to follow."""
    lab.server("nts1.test")
    lab.client("server nts1.test nts iburst")
    lab.until("sources", lambda rows: rows[0][5] == "1")


def ke_under_way(lab: Lab) -> None:
    """The first key exchange waits for its answer."""
    lab.listen(None)
    lab.client("server nts1.test nts iburst")
    lab.until("authdata", lambda rows: rows[0][6] == "1")


def ke_refused(lab: Lab) -> None:
    """Nothing listens on the server's NTS-KE port."""
    lab.client("server nts1.test nts iburst")
    lab.logged("Connection refused")


def ke_refused_twice(lab: Lab) -> None:
    """Nothing listens on the server's NTS-KE port, tried twice."""
    lab.client(f"server nts1.test nts {FAST}")
    lab.until("authdata", lambda rows: rows[0][6] == "2")


def ke_timeout(lab: Lab) -> None:
    """The server accepts the connection and never says anything."""
    lab.listen(None)
    lab.client("server nts1.test nts iburst")
    lab.logged("timed out")


def ke_unexpected(lab: Lab) -> None:
    """Another service listens on the NTS-KE port."""
    lab.listen(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    lab.client("server nts1.test nts iburst")
    lab.logged("TLS handshake")


def ke_closed(lab: Lab) -> None:
    """The server does not allow this client."""
    lab.server("nts1.test", "local stratum 5")
    lab.client("server nts1.test nts iburst")
    lab.logged("TLS handshake")


def ke_no_alpn(lab: Lab) -> None:
    """A TLS server that knows nothing of NTS-KE."""
    certificate, key = lab.authority.issue("nts1.test")
    command = ["openssl", "s_server", "-quiet", "-tls1_3", "-accept", f"{ADDRESSES['nts1.test']}:{NTS_KE_PORT}"]
    process = subprocess.Popen(
        [*command, "-cert", str(certificate), "-key", str(key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    lab.cleanup.callback(process.wait)
    lab.cleanup.callback(process.kill)
    time.sleep(0.5)
    lab.client("server nts1.test nts iburst")
    lab.logged("NTS-KE not supported")


def ke_unknown_ca(lab: Lab) -> None:
    """The client does not trust the CA."""
    lab.server("nts1.test")
    lab.client("server nts1.test nts iburst", trust=False)
    lab.logged("TLS handshake")


def ke_expired(lab: Lab) -> None:
    """The server's certificate has expired."""
    lab.server("nts1.test", pair=lab.authority.issue("nts1.test", -9, -2))
    lab.client("server nts1.test nts iburst")
    lab.logged("TLS handshake")


def ke_not_yet_valid(lab: Lab) -> None:
    """The server's certificate is not yet valid."""
    lab.server("nts1.test", pair=lab.authority.issue("nts1.test", 2, 9))
    lab.client("server nts1.test nts iburst")
    lab.logged("TLS handshake")


def ke_wrong_name(lab: Lab) -> None:
    """The server's certificate is for another name."""
    lab.server("nts1.test")
    lab.client("server other.test nts iburst")
    lab.logged("TLS handshake")


def ke_no_trust_file(lab: Lab) -> None:
    """A file of trusted certificates is missing."""
    lab.server("nts1.test")
    lab.client("server nts1.test nts iburst", "ntstrustedcerts /nonexistent/ca.pem")
    lab.logged("Could not set credentials")


def ntp_awaited(lab: Lab) -> None:
    """The key exchange succeeded, and the first request has not been answered."""
    lab.server("nts1.test")
    lab.client("server nts1.test port 9123 nts iburst")
    lab.until("ntpdata", lambda rows: rows[0][30] == "1")


def ntp_blocked(lab: Lab) -> None:
    """The key exchange succeeded, and NTP is not answered."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test port 9123 nts {FAST}")
    lab.until("ntpdata", lambda rows: rows[0][30] == "4")


def ntp_blocked_long(lab: Lab) -> None:
    """The key exchange succeeded, NTP is not answered, and all cookies are used up."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test port 9123 nts {FAST}")
    lab.until("authdata", lambda rows: rows[0][4] != "0" and rows[0][8] == "0")


def ntp_lost_one(lab: Lab) -> None:
    """A healthy source, with the last three requests unanswered."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test nts {FAST}")
    lab.followed()
    lab.stop("nts1.test")
    lab.until("sources", lambda rows: rows[0][5] == "370")


def server_gone(lab: Lab) -> None:
    """A healthy server has disappeared for long."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test nts {FAST}")
    lab.followed()
    lab.stop("nts1.test")
    lab.until("authdata", lambda rows: rows[0][6] == "1")
    lab.logged("Connection refused")


def one_of_two_gone(lab: Lab) -> None:
    """One of two healthy servers has disappeared."""
    lab.server("nts1.test")
    lab.server("nts2.test")
    lab.client(f"server nts1.test nts {FAST}", f"server nts2.test nts {FAST}")
    lab.followed(2)
    lab.stop("nts1.test")
    lab.until("sources", lambda rows: rows[0][5] == "0")
    lab.logged("Connection refused")


def server_lost_keys(lab: Lab) -> None:
    """A healthy server has been restarted without its keys."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test nts {FAST}")
    lab.followed()
    lab.stop("nts1.test")
    lab.server("nts1.test")
    lab.until("authdata", lambda rows: rows[0][7] == "1")


def other_keys(lab: Lab) -> None:
    """The NTP server that the NTS-KE server names has other keys."""
    lab.server("nts2.test")
    lab.server("nts1.test", f"{SYNCHRONISED}\nntsntpserver {ADDRESSES['nts2.test']}")
    lab.client(f"server nts1.test nts {FAST}")
    lab.until("authdata", lambda rows: rows[0][7] == "1" and rows[0][8] == "0")


def ke_expired_later(lab: Lab) -> None:
    """The server's certificate has expired since the first key exchange, and the keys are to be refreshed."""
    lab.server("nts1.test", f"{SYNCHRONISED}\n{lab.dump('nts1.test')}")
    lab.client(f"server nts1.test nts {FAST}", "ntsrefresh 12")
    lab.followed()
    lab.stop("nts1.test")
    expired = lab.authority.issue("nts1.test", -9, -2)
    lab.server("nts1.test", f"{SYNCHRONISED}\n{lab.dump('nts1.test')}", expired)
    lab.logged("TLS handshake")


def saved_cookies(lab: Lab) -> None:
    """The client has been restarted with its cookies, and its server with its keys."""
    lab.server("nts1.test", f"{SYNCHRONISED}\n{lab.dump('nts1.test')}")
    lab.client(f"server nts1.test nts {FAST}", lab.dump("client"))
    lab.followed()
    lab.stop("client")
    lab.client(f"server nts1.test nts {FAST}", lab.dump("client"))
    lab.followed()


def saved_cookies_server_gone(lab: Lab) -> None:
    """The client has been restarted with its cookies, and its server is gone."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test nts {FAST}", lab.dump("client"))
    lab.followed()
    lab.stop("client", "nts1.test")
    lab.client(f"server nts1.test nts {FAST}", lab.dump("client"))
    lab.until("ntpdata", lambda rows: rows[0][30] == "4")


def server_unsynchronised(lab: Lab) -> None:
    """The server answers, and is not synchronised itself."""
    lab.server("nts1.test", "allow")
    lab.client(f"server nts1.test nts {FAST}")
    lab.until("ntpdata", lambda rows: int(rows[0][32]) >= 4)


def plain(lab: Lab) -> None:
    """The clock follows a server without NTS."""
    lab.server("plain.test")
    lab.client(f"server plain.test {FAST}")
    lab.followed()


def plain_and_failed(lab: Lab) -> None:
    """The clock follows a server without NTS (authselectmode ignore), and the one with NTS fails."""
    lab.server("plain.test")
    lab.client(f"server nts1.test nts {FAST}", f"server plain.test {FAST}", "authselectmode ignore")
    lab.followed()


def mixed(lab: Lab) -> None:
    """A server with and one without NTS, authselectmode mix."""
    lab.server("nts1.test")
    lab.server("plain.test")
    lab.client(f"server nts1.test nts {FAST}", f"server plain.test {FAST}")
    lab.followed()


def mixed_ignore(lab: Lab) -> None:
    """A server with and one without NTS, authselectmode ignore: the clock follows both."""
    lab.server("nts1.test")
    lab.server("plain.test")
    lab.client(
        f"server nts1.test nts {FAST}", f"server plain.test {FAST}", "authselectmode ignore", "combinelimit 1000"
    )
    lab.followed(2)


def mixed_require(lab: Lab) -> None:
    """A server with and one without NTS, authselectmode require."""
    lab.server("nts1.test")
    lab.server("plain.test")
    lab.client(f"server nts1.test nts {FAST}", f"server plain.test {FAST}", "authselectmode require")
    lab.followed()


def mixed_failed(lab: Lab) -> None:
    """The server with NTS fails, and keeps the one without from being followed (authselectmode mix)."""
    lab.server("plain.test")
    lab.client(f"server nts1.test nts {FAST}", f"server plain.test {FAST}")
    lab.until("sources", lambda rows: rows[1][5] == "377")


def symmetric_key(lab: Lab) -> None:
    """The clock follows a server with a symmetric key."""
    keys = lab.folder / "keys"
    keys.write_text("7 SHA1 HEX:00112233445566778899AABBCCDDEEFF00112233\n")
    lab.server("plain.test", f"{SYNCHRONISED}\nkeyfile {keys}")
    lab.client(f"server plain.test key 7 {FAST}", f"keyfile {keys}")
    lab.followed()


def reference_clock(lab: Lab) -> None:
    """The clock follows a reference clock."""
    lab.client("refclock SOCK /run/reference.sock refid GPS poll 0 filter 1")
    lab.until("sources", lambda rows: len(rows) == 1)
    stopped = threading.Event()

    def feed() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            while not stopped.wait(0.2):
                seconds, nanoseconds = divmod(time.time_ns(), 10**9)
                sample = struct.pack("=qqdiiii", seconds, nanoseconds // 1000, 0.0, 0, 0, 0, 0x534F434B)
                sender.sendto(sample, "/run/reference.sock")

    threading.Thread(target=feed, daemon=True).start()
    lab.cleanup.callback(stopped.set)
    lab.followed()


def unresolved(lab: Lab) -> None:
    """The name of the only server has no address."""
    lab.client("server nowhere.test nts iburst")
    lab.until("sources -a", lambda rows: len(rows) == 1)
    time.sleep(11)


def address_taken(lab: Lab) -> None:
    """Two names of one server."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test nts {FAST}", f"server other.test nts {FAST}")
    lab.followed()
    time.sleep(3)


def no_sources(lab: Lab) -> None:
    """A client without any source."""
    lab.client("cmdport 323")
    lab.until("tracking", lambda rows: len(rows[0]) > 1)


def local_reference(lab: Lab) -> None:
    """The server with NTS fails, and the client serves its own clock."""
    lab.client(f"server nts1.test nts {FAST}", "local stratum 10")
    lab.until("tracking", lambda rows: rows[0][0] == "7F7F0101")
    lab.logged("Connection refused")


def ke_server_without_key(lab: Lab) -> None:
    """The server cannot read its private key: its NTS-KE port is open, and there is no NTS."""
    certificate, _key = lab.authority.issue("nts1.test")
    lab.server("nts1.test", pair=(certificate, Path("/nonexistent/server.key")))
    lab.client("server nts1.test nts iburst")
    lab.logged("TLS handshake")


def noselect(lab: Lab) -> None:
    """The only source is authenticated, and configured not to be followed."""
    lab.server("nts1.test")
    lab.client(f"server nts1.test nts noselect {FAST}")
    lab.until("sources", lambda rows: rows[0][5] == "377")


def every_report(lab: Lab) -> None:
    """A client that is a server too, with a client of its own, time smoothing, and a time set by hand."""
    certificate, key = lab.authority.issue("nts1.test")
    lab.server("nts2.test")
    serving = ("allow", f"bindaddress {ADDRESSES['nts1.test']}", f"ntsservercert {certificate}", f"ntsserverkey {key}")
    lab.client(f"server nts2.test nts {FAST}", *serving, "manual", "smoothtime 400 0.01")
    trust = f"ntstrustedcerts {lab.authority.certificate}"
    lab.start("asker", f"{trust}\nserver nts1.test nts {FAST}\nport 0\nbindcmdaddress /\ncmdport 0")
    lab.followed()
    lab.ask(time.strftime("settime %H:%M:%S"))
    lab.until("clients -k", lambda rows: any(int(row[1]) >= 4 for row in rows))
    # The time that is set ends the synchronisation until the next answer.
    lab.until("tracking", lambda rows: rows[0][13] == "Normal")


def ordinary_user(lab: Lab) -> None:
    """The same as healthy, asked by an ordinary user."""
    healthy(lab)
    lab.asks_as_nobody = True


def stopped(lab: Lab) -> None:
    """No chronyd runs."""
    assert not lab.running


STATES: dict[str, Callable[[Lab], None]] = {
    state.__name__: state
    for state in (
        healthy,
        healthy_pool,
        just_started,
        first_answers,
        ke_under_way,
        ke_refused,
        ke_refused_twice,
        ke_timeout,
        ke_unexpected,
        ke_closed,
        ke_no_alpn,
        ke_unknown_ca,
        ke_expired,
        ke_not_yet_valid,
        ke_wrong_name,
        ke_no_trust_file,
        ntp_awaited,
        ntp_blocked,
        ntp_blocked_long,
        ntp_lost_one,
        server_gone,
        one_of_two_gone,
        server_lost_keys,
        other_keys,
        ke_expired_later,
        saved_cookies,
        saved_cookies_server_gone,
        server_unsynchronised,
        plain,
        plain_and_failed,
        mixed,
        mixed_ignore,
        mixed_require,
        mixed_failed,
        symmetric_key,
        reference_clock,
        unresolved,
        address_taken,
        no_sources,
        local_reference,
        ke_server_without_key,
        noselect,
        every_report,
        ordinary_user,
        stopped,
    )
}


if __name__ == "__main__":
    main()
