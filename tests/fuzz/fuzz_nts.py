# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the probe's parsers with atheris: `make fuzz RUNS=1000000`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ansible_collections.securetime.nts.plugins"]):
    from ansible_collections.securetime.nts.tests.unit.plugins.module_utils import nts_input

if __name__ == "__main__":
    corpus = Path(sys.argv[-1])
    for number, seed in enumerate(nts_input.seeds()):
        (corpus / f"seed{number}").write_bytes(seed)
    atheris.Setup(sys.argv, nts_input.read)
    atheris.Fuzz()
