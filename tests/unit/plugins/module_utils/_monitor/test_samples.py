# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import copy
import re

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import samples
from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import BY_NAME
from ansible_collections.securetime.nts.plugins.module_utils._monitor.samples import Run, Sample
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils._monitor import monitored

RUN = Run(True, 1795420000.1234, 0.0456, 60)
LINE = re.compile(r'(?P<name>\w+)(?:\{(?P<labels>(?:\w+="(?:[^"\\\n]|\\.)*",?)*)\})? (?P<value>\S+)')
PAIR = {
    "id": "server",
    "path": "/etc/chrony/nts/server.pem",
    "file": {"serial": "2", "not_before": 200.0, "not_after": 300.0},
    "served": {"serial": "1", "not_before": 100.0, "not_after": 250.0},
    "chain_not_after": 1000.0,
    "matches": False,
    "stages": {"dns": (True, 0.001), "tcp": (True, 0.002), "tls": (None, 0.003), "ke": (None, None)},
    "probed": 1795419000.5,
    "problem": "chronyd serves another certificate",
    "notes": [],
}
SERVER = {
    "pairs": [PAIR],
    "anchors": [{"file": "/t.pem", "subject": "CN=root", "fingerprint": "ab", "not_before": 0.0, "not_after": 400.0}],
    "connections": 3,
    "keys_age_seconds": 12.5,
}


def values(facts, server=None, run=RUN):
    """Return the values by metric and labels."""
    return {(sample.name, sample.labels): sample.value for sample in samples.samples(facts, server, run)}


def test_every_captured_state_is_a_text_that_prometheus_reads(any_capture):
    text = samples.exposition(samples.samples(monitored.facts_of(any_capture), SERVER, RUN))
    kinds, seen = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _hash, _type, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            found = LINE.fullmatch(line)
            assert found, line
            assert found.group("name") in kinds, line
            float(found.group("value"))
            key = (found.group("name"), found.group("labels"))
            assert key not in seen, line
            seen.add(key)
    assert kinds == {name: BY_NAME[name].kind for name in kinds}
    assert text.endswith("\n")


def test_metrics_say_what_the_verdict_says(any_capture):
    facts = monitored.facts_of(any_capture)
    found = values(facts)
    assert found[("chrony_nts_authenticated", ())] == int(facts["nts"]["authenticated"])
    assert found[("chrony_nts_state_info", (facts["nts"]["state"],))] == 1
    assert found[("chrony_up", ())] == int(facts["tracking"] is not None)
    if facts["sources"] is not None:
        counted = [found[("chrony_nts_sources", (state,))] for state in samples.VERDICTS_OF_SOURCES]
        assert sum(counted) == len(facts["sources"])
        assert found[("chrony_nts_sources", ("authenticated",))] == facts["nts"]["authenticated_sources"]
    for source in facts["sources"] or []:
        labels = samples.labels_of(source)
        if labels:
            assert found[("chrony_nts_source_state_info", (*labels, source["nts"]["state"]))] == 1


def test_a_healthy_client_by_its_numbers(capture):
    seen = capture("healthy")
    found = values(monitored.facts_of(seen))
    columns = seen.answer("tracking").split(",")
    # Column 5 is the correction on the wire; the facts have the opposite sign.
    assert found[("chrony_tracking_system_time_seconds", ())] == float(columns[4])
    assert found[("chrony_tracking_last_offset_seconds", ())] == float(columns[5])
    assert found[("chrony_tracking_root_delay_seconds", ())] == float(columns[10])
    assert found[("chrony_tracking_root_dispersion_seconds", ())] == float(columns[11])
    assert found[("chrony_tracking_leap_status", ())] == 0
    assert found[("chrony_tracking_remote_reference", ())] == 1
    mode, state, address, stratum, poll, reach, _age, offset, _measured, error = (
        seen.answer("sources -a").split("\n")[0].split(",")
    )
    labels = (address, "nts1.test")
    assert (mode, state in "*+-") == ("^", True)
    assert found[("chrony_sources_stratum", labels)] == int(stratum)
    assert found[("chrony_sources_polling_interval_seconds", labels)] == 2.0 ** int(poll)
    assert found[("chrony_sources_reachability_ratio", labels)] == bin(int(reach, 8)).count("1") / 8
    assert found[("chrony_sources_last_sample_offset_seconds", labels)] == float(offset)
    assert found[("chrony_sources_last_sample_error_margin_seconds", labels)] == float(error)
    authdata = seen.answer("authdata -a").split("\n")[0].split(",")
    assert found[("chrony_authdata_key_establishments_total", labels)] == int(authdata[2])
    assert found[("chrony_authdata_key_length_bytes", labels)] == int(authdata[4]) // 8
    assert found[("chrony_authdata_cookies", labels)] == int(authdata[8])
    aead = {"15": "AES-SIV-CMAC-256", "30": "AES-128-GCM-SIV"}[authdata[3]]
    assert found[("chrony_authdata_key_type_info", (*labels, aead))] == 1
    # Column 18 of ntpdata is the offset on the wire.
    ntpdata = next(line for line in seen.answer("ntpdata").split("\n") if line.startswith(address)).split(",")
    assert found[("chrony_sources_peer_offset_seconds", labels)] == float(ntpdata[18])
    assert found[("chrony_ntpdata_authenticated", labels)] == 1


@pytest.mark.parametrize(("reach", "ratio", "last"), [(0, 0.0, 0), (1, 0.125, 1), (254, 0.875, 0), (255, 1.0, 1)])
def test_reachability_is_of_the_last_eight_polls_and_of_the_last_one(capture, reach, ratio, last):
    facts = monitored.facts_of(capture("healthy"))
    facts["sources"] = [dict(facts["sources"][0], reach=reach)]
    found = values(facts)
    labels = samples.labels_of(facts["sources"][0])
    assert found[("chrony_sources_reachability_ratio", labels)] == ratio
    assert found[("chrony_sources_reachability_success", labels)] == last


def test_states_of_sources_are_those_of_chrony_exporter(capture):
    found = {
        name_labels[1][2:]
        for name_labels in values(monitored.facts_of(capture("mixed")))
        if "sources_state_info" in name_labels[0]
    }
    assert found <= {("sync", "client"), ("candidate", "client"), ("outlier", "client"), ("unreach", "client")}
    assert ("sync", "client") in found


def test_what_chronyd_does_not_know_has_no_sample(capture):
    found = values(monitored.facts_of(capture("ke_refused")))
    names = {name for name, _labels in found}
    assert "chrony_sources_last_sample_age_seconds" not in names
    assert "chrony_authdata_last_key_establishment_age_seconds" not in names
    assert "chrony_authdata_key_type_info" not in names
    assert "chrony_authdata_key_establishment_attempts" in names


def test_a_source_without_an_address_has_no_samples_of_its_own(capture):
    found = values(monitored.facts_of(capture("unresolved")))
    assert {labels for name, labels in found if "source_address" in BY_NAME[name].labels} == set()
    assert found[("chrony_nts_sources", ("failed",))] == 1


def test_a_reference_clock_is_named_by_its_reference_id(capture):
    found = values(monitored.facts_of(capture("reference_clock")))
    assert found[("chrony_tracking_info", ("GPS", "GPS", "47505300"))] == 1
    assert found[("chrony_tracking_remote_reference", ())] == 0
    assert ("chrony_sources_state_info", ("GPS", "GPS", "sync", "reference clock")) in found


def test_the_local_reference_is_not_remote(capture):
    found = values(monitored.facts_of(capture("local_reference")))
    assert found[("chrony_tracking_info", ("7F7F0101", "7F7F0101", "7F7F0101"))] == 1
    assert found[("chrony_tracking_remote_reference", ())] == 0


@pytest.mark.parametrize(
    ("state", "expected"),
    [("healthy", 0), ("mixed", 0), ("plain", 1), ("plain_and_failed", 1), ("symmetric_key", 0), ("reference_clock", 0)],
)
def test_a_clock_that_follows_an_unauthenticated_source_is_shown(capture, state, expected):
    found = values(monitored.facts_of(capture(state)))
    if state == "mixed":
        # With authselectmode mix, chronyd may combine the plain source with the others.
        assert found[("chrony_nts_unauthenticated_selected", ())] in (0, 1)
    else:
        assert found[("chrony_nts_unauthenticated_selected", ())] == expected


def test_without_reports_there_is_the_collector_alone():
    found = values(None, None, Run(False, 5.0, 0.1, 900))
    assert found == {
        ("chrony_up", ()): 0,
        ("chrony_collector_success", ()): 0,
        ("chrony_collector_last_run_timestamp_seconds", ()): 5.0,
        ("chrony_collector_duration_seconds", ()): 0.1,
        ("chrony_collector_interval_seconds", ()): 900,
    }


def test_a_server_shows_file_and_what_is_served():
    found = values(None, SERVER)
    prefix = "chrony_nts_server_certificate"
    assert found[(f"{prefix}_not_after_timestamp_seconds", ("server", "file"))] == 300.0
    assert found[(f"{prefix}_not_after_timestamp_seconds", ("server", "served"))] == 250.0
    assert found[(f"{prefix}_not_before_timestamp_seconds", ("server", "served"))] == 100.0
    assert found[(f"{prefix}_chain_not_after_timestamp_seconds", ("server",))] == 1000.0
    assert found[(f"{prefix}_served_matches_file", ("server",))] == 0
    assert found[("chrony_nts_server_probe_success", ("server", "tcp"))] == 1
    assert ("chrony_nts_server_probe_success", ("server", "tls")) not in found
    assert found[("chrony_nts_server_probe_duration_seconds", ("server", "tls"))] == 0.003
    assert found[("chrony_nts_server_keys_age_seconds", ())] == 12.5
    anchor = ("/t.pem", "CN=root", "ab")
    assert found[("chrony_nts_trust_anchor_not_before_timestamp_seconds", anchor)] == 0.0
    assert found[("chrony_nts_trust_anchor_not_after_timestamp_seconds", anchor)] == 400.0


def test_an_anchor_that_an_earlier_version_has_noted_has_no_begin():
    anchor = {"file": "/t.pem", "subject": "CN=root", "fingerprint": "ab", "not_after": 400.0}
    names = {name for name, _labels in values(None, dict(SERVER, anchors=[anchor])) if "trust_anchor" in name}
    assert names == {"chrony_nts_trust_anchor_not_after_timestamp_seconds"}


@pytest.mark.parametrize(("clock_control", "expected"), [(True, 1), (False, 0), (None, None)])
def test_whether_chronyd_sets_the_clock(capture, clock_control, expected):
    facts = monitored.facts_of(capture("healthy"))
    facts["daemon"]["clock_control"] = clock_control
    assert values(facts).get(("chrony_clock_controlled", ())) == expected


def test_the_probe_does_not_count_as_a_key_exchange(capture):
    facts = monitored.facts_of(capture("healthy"))
    name = "chrony_serverstats_nts_ke_connections_accepted_total"
    for accepted, own, expected in ((10, 3, 7), (10, 0, 10), (2, 3, 0)):
        facts["serverstats"] = dict(facts["serverstats"], nts_ke_accepted=accepted)
        found = values(facts, dict(SERVER, connections=own))
        assert found[(name, ())] == expected
        assert found[("chrony_nts_server_probe_connections_total", ())] == own


def test_two_sources_with_the_same_labels_are_one_sample(capture):
    facts = monitored.facts_of(capture("reference_clock"))
    facts["sources"].append(copy.deepcopy(facts["sources"][0]))
    text = samples.exposition(samples.samples(facts, None, RUN))
    assert text.count('chrony_sources_stratum{source_address="GPS"') == 1


def test_labels_are_escaped():
    text = samples.exposition([Sample("chrony_nts_state_info", ('a"b\\c\nd',), 1)])
    assert text.splitlines()[-1] == r'chrony_nts_state_info{state="a\"b\\c\nd"} 1'


def test_clients_are_counted_by_protocol(capture):
    facts = monitored.facts_of(capture("healthy"))
    facts["client_counts"] = {"nts": 2, "plain": 5}
    assert values(facts)[("chrony_clients", ("plain",))] == 5
    facts["client_counts"] = None
    assert ("chrony_clients", ("plain",)) not in values(facts)


def test_what_chronyc_does_not_report_has_no_sample(capture):
    facts = copy.deepcopy(monitored.facts_of(capture("healthy")))
    before = values(facts)
    gone = {
        "tracking": ["offset_seconds", "leap_status", "error_bound_seconds"],
        "source": ["reach", "poll_log2_seconds"],
        "ntp": ["offset_seconds", "authenticated"],
    }
    (source, *_others) = facts["sources"]
    for row, names in ((facts["tracking"], gone["tracking"]), (source, gone["source"])):
        for name in names:
            row[name] = None
    source["auth"]["key_length_bits"] = None
    if source["ntpdata"]:
        for name in gone["ntp"]:
            source["ntpdata"][name] = None
    after = values(facts)
    missing = {name for name, _labels in set(before) - set(after)}
    assert missing >= {
        "chrony_tracking_system_time_seconds",
        "chrony_tracking_leap_status",
        "chrony_clock_error_bound_seconds",
        "chrony_sources_reachability_ratio",
        "chrony_sources_polling_interval_seconds",
        "chrony_authdata_key_length_bytes",
    }
    # The others are as they were.
    assert {key: value for key, value in before.items() if key in after} == after


def test_a_pair_that_was_not_probed_has_its_file_alone(capture):
    unknown = dict(PAIR, served=None, chain_not_after=None, matches=None, stages={}, probed=None)
    found = values(monitored.facts_of(capture("healthy")), dict(SERVER, pairs=[unknown]))
    of_pair = {name for name, labels in found if "server" in labels}
    assert of_pair == {
        "chrony_nts_server_certificate_not_before_timestamp_seconds",
        "chrony_nts_server_certificate_not_after_timestamp_seconds",
    }


def test_a_sample_has_the_labels_of_its_metric():
    with pytest.raises(ValueError, match="takes 2 labels, not 1"):
        samples._sample("chrony_info", 1, "4.9")
