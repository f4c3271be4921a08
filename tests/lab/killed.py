# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a test host: kill the transaction at every step in turn, and check its leftovers and the next run.

    PYTHONPATH=FOLDER_OF_COLLECTIONS python3 killed.py CONFIG_FILE UNIT FIRST STRIDE

A step reaches the disk or another program. This host tries the steps FIRST, FIRST + STRIDE, and so on. Prints every
fault that it found, and the steps at which it killed the transaction.
"""

import glob
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

from ansible_collections.securetime.nts.plugins.module_utils._change import transaction, undo
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    OLD,
    CommandResult,
    FileSpec,
    System,
    load,
    read,
    remove,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options

CONFIG_FILE, UNIT = sys.argv[1:3]
FIRST, STRIDE = map(int, sys.argv[3:])
FOLDER = os.path.join(os.path.dirname(CONFIG_FILE), "killed")
# The new state does not trust this anchor, so chronyd must not reuse the cookies from before.
ANCHOR = FOLDER + "/anchor-3.pem"
# A file behind a chain of symbolic links, because an administrator may keep it elsewhere.
LINK, TARGET = FOLDER + "/link", FOLDER + "/elsewhere/target"
UNDO = "/var/lib/securetime-nts/undo.sh"
COOKIES = "/var/lib/chrony/192.0.2.77.nts"
OPTIONS = Options(config_file=CONFIG_FILE, service=UNIT, settle_time=0.1, owns=[os.path.join(FOLDER, "anchor-*.pem")])


def run(argv):
    done = subprocess.run(argv, capture_output=True, check=False)
    return CommandResult(done.returncode, done.stdout.decode(), done.stderr.decode())


HOST = System(run=run, label=lambda *_paths: None)


def killed_at(step, wanted):
    """Apply a change in a process that is killed before a step; return whether it was killed."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(function):
            def call(*arguments, **options):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        HOST.run = counted(run)
        for name in ("replace", "unlink", "link", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
        transaction.apply(HOST, wanted, OPTIONS)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


def make_links():
    os.makedirs(os.path.dirname(TARGET))
    os.symlink("elsewhere/target", FOLDER + "/between")
    os.symlink(FOLDER + "/between", LINK)


def main():
    # Long: one loop over all steps, whose nested functions share the desired states and the list of faults.
    with open(CONFIG_FILE) as file:
        config = file.read()
    with open("/etc/chrony/nts/trusted.pem") as file:
        anchor = file.read()

    def files(label):
        trusts = f"ntstrustedcerts 3 {ANCHOR}\n" if label == "old" else ""
        return {
            CONFIG_FILE: f"{config}\n! {label}\n{trusts}",
            ANCHOR: anchor if label == "old" else None,
            FOLDER + "/changed": f"{label}\n",
            FOLDER + "/added": f"{label}\n" if label == "new" else None,
            LINK: f"{label}\n",
            FOLDER + "/removed": f"{label}\n" if label == "old" else None,
        }

    def wanted(label):
        listed = [item for item in files(label).items() if item != (ANCHOR, None)]
        return [FileSpec(path, content, "root", "root", 0o644) for path, content in listed]

    def contents():
        wrong.extend([] if os.path.islink(LINK) else [f"step {step}: the symbolic link is gone"])
        return {path: read(path) and read(path).content.decode() for path in files("old")}

    def left_behind():
        folders = os.path.dirname(CONFIG_FILE), os.path.dirname(COOKIES)
        return [path for each in folders for path in glob.glob(each + "/**/*securetime-nts-*", recursive=True)]

    def save_cookies():
        with open(COOKIES, "w") as file:
            file.write("cookies")

    wrong = []
    killed_steps = []
    make_links()
    transaction.apply(HOST, wanted("old"), OPTIONS)
    for step in itertools.count(FIRST, STRIDE):
        save_cookies()
        was_killed = killed_at(step, wanted("new"))
        now = contents()
        wrong += [
            f"step {step}: {path} is neither old nor new"
            for path, content in now.items()
            if content not in (files("old")[path], files("new")[path])
        ]
        if not was_killed:
            wrong += [] if now == files("new") else [f"step {step}: not new in the end"]
            wrong += [f"step {step}: the cookies are still there"] if os.path.exists(COOKIES) else []
            break
        killed_steps.append(step)
        # chronyd's start runs this script.
        if step % 4 < 2 and os.path.exists(UNDO):
            run(["sh", UNDO])
            wrong += [] if contents() == files("old") else [f"step {step}: the script leaves something else than old"]
            wrong += [f"step {step}: the script leaves {path}" for path in left_behind()]
            wrong += [f"step {step}: the script is still there"] if os.path.exists(UNDO) else []
        # Repeat the same run after half of the steps, and restore the old files after the others.
        label = "new" if step % 2 else "old"
        plan = load(HOST, undo.PLAN)
        begun = plan != {} and not plan.get("done")
        kept = os.path.exists(COOKIES) or os.path.exists(COOKIES + OLD)
        transaction.apply(HOST, wanted(label), OPTIONS)
        if label == "new" or begun:
            expected = label == "old" and kept
            wrong += [] if os.path.exists(COOKIES) == expected else [f"step {step}: cookies are not {expected}"]
        wrong += [] if contents() == files(label) else [f"step {step}: not {label} after the next run"]
        wrong += [f"step {step}: {path} was left behind" for path in left_behind()]
        wrong += [] if run(["systemctl", "is-active", UNIT]).status == 0 else [f"step {step}: chronyd does not run"]
        wrong += [] if load(HOST, undo.PLAN) == {} else [f"step {step}: the plan is still there"]
        transaction.apply(HOST, wanted("old"), OPTIONS)
    last = [item._replace(content=None) for item in wanted("old")[1:]]
    transaction.apply(HOST, [wanted("old")[0]._replace(content=config), *last], OPTIONS)
    remove(COOKIES)
    shutil.rmtree(FOLDER)
    print(json.dumps({"steps": killed_steps, "wrong": wrong}))


main()
