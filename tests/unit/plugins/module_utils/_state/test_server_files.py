# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an NTS server on a host."""

import json

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import server_files

ENTRY = {"file": "000", "uid": 0, "gid": 0, "mode": "0644"}
CHANGED = {
    "/etc/chrony/nts/server.key": None,
    "/etc/chrony/nts/server.pem": None,
    "/srv/nts/gone.key": None,
    # The operator's own file from before the first run.
    "/etc/chrony/nts/own.key": ENTRY,
    "/etc/chrony/nts/trusted.pem": None,
    "/etc/chrony/nts/trusted-2.pem": None,
    "/etc/chrony/chrony.conf": ENTRY,
    "/etc/chrony/nts-sources.d/securetime-nts.sources": None,
}


def put(root, path, text=""):
    place = root / path[1:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def test_a_client_has_none(tmp_path):
    assert server_files(str(tmp_path)) == []
    put(tmp_path, "/etc/chrony/nts/trusted.pem")
    put(tmp_path, "/var/lib/securetime-nts/original/manifest.json", json.dumps(CHANGED))
    assert server_files(str(tmp_path)) == []


def test_the_files_of_a_server_are_those_that_the_collection_made(tmp_path):
    for path in CHANGED:
        put(tmp_path, path)
    (tmp_path / "srv/nts/gone.key").unlink()
    put(tmp_path, "/var/lib/securetime-nts/original/manifest.json", json.dumps(CHANGED))
    assert server_files(str(tmp_path)) == ["/etc/chrony/nts/server.key", "/etc/chrony/nts/server.pem"]
    more = ["/usr/local/sbin/nts-certificate", "/etc/chrony/nts/staging/server/ownca/leaf.key"]
    more += ["/var/lib/securetime-nts/server.previous.key", "/etc/chrony/nts/certificate.json"]
    for path in more:
        put(tmp_path, path)
    assert server_files(str(tmp_path)) == [
        "/usr/local/sbin/nts-certificate",
        "/etc/chrony/nts/staging",
        "/var/lib/securetime-nts/server.previous.key",
        "/etc/chrony/nts/server.key",
        "/etc/chrony/nts/server.pem",
        "/etc/chrony/nts/certificate.json",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_record_names_no_file(tmp_path, text):
    put(tmp_path, "/var/lib/securetime-nts/original/manifest.json", text)
    put(tmp_path, "/etc/chrony/nts/server.key")
    assert server_files(str(tmp_path)) == []
