# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import re

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import BY_NAME, METRICS, SOURCE

# The metrics of chrony_exporter 0.13.3 (commit 67ab293), by its collectors.
EXPORTER = {
    "": "up",
    "tracking_": "info last_offset_seconds reference_timestamp_seconds system_time_seconds remote_reference"
    " rms_offset_seconds root_delay_seconds root_dispersion_seconds frequency_ppms residual_frequency_ppms skew_ppms"
    " update_interval_seconds stratum",
    "sources_": "last_sample_age_seconds reachability_ratio reachability_success last_sample_offset_seconds"
    " last_sample_error_margin_seconds polling_interval_seconds state_info stratum peer_offset_seconds"
    " peer_delay_seconds peer_dispersion_seconds peer_response_time_seconds peer_jitter_asymmetry_seconds",
    "sourcestats_": "samples runs span_seconds stddev frequency_ppms frequency_skew_ppms offset",
    "serverstats_": "ntp_packets_received_total nts_ke_connections_accepted_total command_packets_received_total"
    " ntp_packets_dropped_total nts_ke_connections_dropped_total command_packets_dropped_total"
    " client_log_records_dropped_total authenticated_ntp_packets_total interleaved_ntp_packets_total"
    " ntp_timestamps_held ntp_timestamp_span_seconds ntp_daemon_rx_timestamps_total ntp_daemon_tx_timestamps_total"
    " ntp_kernel_rx_timestamps_total ntp_kernel_tx_timestamps_total ntp_hw_rx_timestamps_total"
    " ntp_hw_tx_timestamps_total",
}
UNITS = {"seconds": "_seconds", "bytes": "_bytes", "ppm": "_ppms"}
# chrony_exporter gives these no unit.
WITHOUT_UNIT_IN_NAME = {"chrony_sourcestats_stddev", "chrony_sourcestats_offset"}

each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def test_every_metric_of_chrony_exporter_is_there_by_its_name():
    names = {f"chrony_{group}{name}" for group, text in EXPORTER.items() for name in text.split()}
    assert {metric.name for metric in METRICS if metric.in_exporter} == names
    assert len(names) == 51


def test_labels_of_sources_are_those_of_chrony_exporter():
    assert SOURCE == ("source_address", "source_name")
    assert BY_NAME["chrony_sources_state_info"].labels == (*SOURCE, "source_state", "source_mode")
    assert BY_NAME["chrony_tracking_info"].labels == ("tracking_address", "tracking_name", "tracking_refid")


def test_names_are_unique():
    assert len(BY_NAME) == len(METRICS)


@each_metric
def test_a_metric_follows_the_conventions_of_prometheus(metric):
    assert re.fullmatch(r"chrony_[a-z0-9_]+", metric.name)
    assert (metric.kind == "counter") is metric.name.endswith("_total")
    assert all(re.fullmatch(r"[a-z_]+", label) for label in metric.labels)
    if metric.name not in WITHOUT_UNIT_IN_NAME:
        assert metric.name.endswith(UNITS.get(metric.unit, "")), metric.name
        assert metric.unit or not metric.name.endswith(tuple(UNITS.values())), metric.name


@each_metric
def test_a_metric_is_described_in_a_sentence(metric):
    assert re.fullmatch(r"[A-Z][^\n]*\.", metric.help)
    assert metric.report
    assert metric.note == "" or metric.note.endswith(".")
