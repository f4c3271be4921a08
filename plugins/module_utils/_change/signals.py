# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A signal that ends the program rolls back the change in progress."""

import contextlib
import signal
from typing import Any, Iterator, List

from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def rollback_on_signals() -> Iterator[List[str]]:
    """Raise TransactionError in the main thread on the first of SIGNALS; yield a list that then holds its name.

    A transaction rolls back on this error as on any other. Later signals are ignored, which lets the rollback finish.
    A signal that was ignored before, as by nohup, stays ignored.
    """
    received: List[str] = []

    def stop(number: int, _frame: Any) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        received.append(signal.Signals(number).name)
        raise TransactionError(f"{received[0]} ended the program")

    handled = {each: signal.getsignal(each) for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN}
    for each in handled:
        signal.signal(each, stop)
    try:
        yield received
    finally:
        for each, handler in handled.items():
            signal.signal(each, handler)
