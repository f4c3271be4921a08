# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a VM: begin a change, and report a step over the second serial line, so that the test cuts the power there.

    python3 cut.py prepare              write the old content of the files that `config` changes
    python3 cut.py config STEP          a transaction that changes, adds and removes files and restarts chronyd
    python3 cut.py certificate STEP     a renewal of the server's certificate, with all that it does
    python3 cut.py look                 print the state

A step changes the disk, or stops or starts chronyd; the power cut comes before it. STEP is its number or its
description. With 0, the program takes every step and prints them. The code is that of the installed program for
renewals, which is the modules' code.
"""

import glob
import hashlib
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, "/usr/local/sbin/nts-certificate")

from ansible_collections.securetime.nts.plugins.module_utils._change import transaction, undo
from ansible_collections.securetime.nts.plugins.module_utils._change.files import FileSpec, read
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager

with open(manager.SETTINGS) as opened:
    SETTINGS = json.load(opened)["pairs"][0]
CONFIG_FILE, UNIT = SETTINGS["config_file"], SETTINGS["service"]
FOLDER = "/etc/chrony/cut"
STATE = "/var/lib/securetime-nts"
# Files that must survive every power cut.
PRECIOUS = [SETTINGS["key"], SETTINGS["staged_key"], SETTINGS["issuing_key"], "/var/lib/chrony/ntskeys"]
FUNCTIONS = {name: getattr(os, name) for name in ("replace", "unlink", "link", "fsync")}
FUNCTIONS["run"] = subprocess.run
STOPS_OR_STARTS = ("stop", "restart", "try-restart")
taken = []


def step(name, subject):
    """Return a description of a call that changes something, else nothing."""
    if name == "run":
        return " ".join(subject) if subject[:1] == ["systemctl"] and subject[1] in STOPS_OR_STARTS else ""
    if name == "fsync":
        path = os.readlink(f"/proc/self/fd/{subject}")
        return f"write {path}" if os.path.isfile(path) else ""
    return f"{name} {subject}" if os.path.lexists(subject) and not str(subject).startswith("/tmp/") else ""


def counted(name, cut_at):
    def call(*arguments, **options):
        what = step(name, arguments[0])
        if what:
            taken.append(what)
            if cut_at in (str(len(taken)), what):
                with open("/dev/ttyS1", "w") as line:
                    line.write("cut\n")
                time.sleep(60)
        return FUNCTIONS[name](*arguments, **options)

    return call


def count(cut_at):
    """Count steps from now on, and wait for the power cut before one."""
    for name in FUNCTIONS:
        setattr(subprocess if name == "run" else os, name, counted(name, cut_at))


def files(label):
    with open(CONFIG_FILE) as opened:
        config = "".join(line for line in opened if not line.startswith("! "))
    return {
        CONFIG_FILE: f"{config}! {label}\n",
        FOLDER + "/changed": f"{label}\n",
        FOLDER + "/added": f"{label}\n" if label == "new" else None,
        FOLDER + "/removed": f"{label}\n" if label == "old" else None,
    }


def change(label):
    host = manager.this_host()
    wanted = [FileSpec(path, content, "root", "root", 0o644) for path, content in files(label).items()]
    transaction.apply(host, wanted, Options(CONFIG_FILE, UNIT, settle_time=0.5))


def text(path):
    found = read(path)
    return found and found.content.decode()


def output(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def look():
    now = {path: text(path) for path in files("old")}
    folders = [os.path.dirname(CONFIG_FILE), "/etc/chrony", "/etc/systemd/system", "/var/lib/chrony", STATE]
    left = {path for each in folders for path in glob.glob(each + "/**/*securetime-nts-[no]*", recursive=True)}
    status, said = output("/usr/local/sbin/nts-certificate", "check")
    return {
        "set": "old" if now == files("old") else "new" if now == files("new") else "mixed",
        "begun": [name for name in (undo.PLAN, undo.UNDO) if os.path.exists(os.path.join(STATE, name))],
        "left": sorted(path for path in left if not path.endswith("undo.conf")),
        "active": output("systemctl", "is-active", UNIT)[1].strip(),
        "since_boot": output("systemctl", "show", UNIT, "--property=NRestarts")[1].strip(),
        "check": status,
        "said": said,
        "lost": [path for path in PRECIOUS if not os.path.exists(path) or not os.path.getsize(path)],
        "certificate": hashlib.sha256((text(SETTINGS["certificate"]) or "").encode()).hexdigest()[:12],
    }


def main():
    what = sys.argv[1]
    if what == "look":
        print(json.dumps(look()))
    elif what == "prepare":
        os.makedirs(FOLDER, exist_ok=True)
        change("old")
        os.sync()
    else:
        count(sys.argv[2])
        if what == "config":
            change("new")
        else:
            # With a new key, a mixed pair of old and new files cannot work.
            with open("/root/settings.json", "w") as file:
                json.dump({"pairs": [dict(SETTINGS, new_key=True)]}, file)
            if manager.main(["--settings", "/root/settings.json", "renew", "--force"]):
                sys.exit(1)
        print("\n".join(taken))
        print(len(taken))


main()
