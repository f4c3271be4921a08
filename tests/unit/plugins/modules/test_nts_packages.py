# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of nts_packages."""

from ansible_collections.securetime.nts.plugins.modules import nts_packages


def test_a_version_that_yaml_reads_as_a_number_is_named():
    assert nts_packages.version_problems({"chrony": "4.6*"}) == []
    assert nts_packages.version_problems({"chrony": 4.1, "certbot": None}) == [
        "The version of chrony in versions is 4.1: write it in quotes.",
        "The version of certbot in versions is None: write it in quotes.",
    ]
