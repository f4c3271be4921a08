# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Convert the facts of a host to samples of metrics, and samples to text for Prometheus.

Pure functions. A value that chronyd does not know has no sample: a zero would look like a measurement.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import (
    ACTIVITIES,
    AEADS,
    BY_NAME,
    LEAP_NUMBERS,
    METRICS,
    PROBE_STAGES,
    PROTOCOLS,
    SOURCE_MODES,
    SOURCE_STATES,
    VERDICTS_OF_SOURCES,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import LOCAL_REFERENCE_ID
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import FOLLOWED, kind_of

Row = Dict[str, Any]
Number = Union[int, float]

POLLS = 8
# Columns of serverstats, by the suffix of the metric's name.
SERVERSTATS = {
    "ntp_packets_received_total": "ntp_received",
    "ntp_packets_dropped_total": "ntp_dropped",
    "command_packets_received_total": "command_received",
    "command_packets_dropped_total": "command_dropped",
    "client_log_records_dropped_total": "client_log_dropped",
    "nts_ke_connections_accepted_total": "nts_ke_accepted",
    "nts_ke_connections_dropped_total": "nts_ke_dropped",
    "authenticated_ntp_packets_total": "ntp_authenticated",
    "interleaved_ntp_packets_total": "ntp_interleaved",
    "ntp_timestamps_held": "ntp_timestamps_held",
    "ntp_timestamp_span_seconds": "ntp_timestamps_span_seconds",
    "ntp_daemon_rx_timestamps_total": "ntp_daemon_rx_timestamps",
    "ntp_daemon_tx_timestamps_total": "ntp_daemon_tx_timestamps",
    "ntp_kernel_rx_timestamps_total": "ntp_kernel_rx_timestamps",
    "ntp_kernel_tx_timestamps_total": "ntp_kernel_tx_timestamps",
    "ntp_hw_rx_timestamps_total": "ntp_hardware_rx_timestamps",
    "ntp_hw_tx_timestamps_total": "ntp_hardware_tx_timestamps",
}
TRACKING = {
    "last_offset_seconds": "last_offset_seconds",
    "reference_timestamp_seconds": "reference_time",
    "rms_offset_seconds": "rms_offset_seconds",
    "root_delay_seconds": "root_delay_seconds",
    "root_dispersion_seconds": "root_dispersion_seconds",
    "frequency_ppms": "frequency_ppm",
    "residual_frequency_ppms": "residual_frequency_ppm",
    "skew_ppms": "skew_ppm",
    "update_interval_seconds": "update_interval_seconds",
    "stratum": "stratum",
}
SOURCESTATS = {
    "samples": "samples",
    "runs": "residual_runs",
    "span_seconds": "span_seconds",
    "stddev": "standard_deviation_seconds",
    "frequency_ppms": "residual_frequency_ppm",
    "frequency_skew_ppms": "skew_ppm",
    "offset": "offset_seconds",
}
PEER = {
    "peer_delay_seconds": "peer_delay_seconds",
    "peer_dispersion_seconds": "peer_dispersion_seconds",
    "peer_response_time_seconds": "response_time_seconds",
    "peer_jitter_asymmetry_seconds": "jitter_asymmetry",
}
AUTHDATA = {
    "key_establishments_total": "key_id",
    "key_establishment_attempts": "ke_attempts",
    "last_key_establishment_age_seconds": "last_ke_seconds",
    "nak": "nak",
    "cookies": "cookies",
    "cookie_length_bytes": "cookie_length_bytes",
}


class Sample(NamedTuple):
    """A value of a metric, with the values of its labels in the order of the table."""

    name: str
    labels: Tuple[str, ...]
    value: Number


class Run(NamedTuple):
    """A run of the collector: its success, its Unix time, and its duration and interval in seconds."""

    success: bool
    time: float
    duration_seconds: float
    interval_seconds: int


def samples(facts: Optional[Row], server: Optional[Row], run: Run) -> List[Sample]:
    """Return the samples of a run; facts are None if chronyd's reports are unreadable."""
    found = []  # type: List[Sample]
    if facts is None:
        found.append(_sample("chrony_up", 0))
    else:
        for part in (_daemon, _tracking, _sources, _verdict, _served, _clients):
            found += part(facts)
        found += _correct_counters(found, server)
    found += _server(server or {})
    found.append(_sample("chrony_collector_success", run.success))
    found.append(_sample("chrony_collector_last_run_timestamp_seconds", round(run.time, 3)))
    found.append(_sample("chrony_collector_duration_seconds", round(run.duration_seconds, 3)))
    found.append(_sample("chrony_collector_interval_seconds", run.interval_seconds))
    return found


def exposition(found: Sequence[Sample]) -> str:
    """Return samples in Prometheus' text format, in the order of the table.

    Omit a second sample with the same labels, as of two reference clocks with one reference ID: node_exporter would
    refuse the whole file.
    """
    by_name = {}  # type: Dict[str, Dict[Tuple[str, ...], Number]]
    for sample in found:
        by_name.setdefault(sample.name, {}).setdefault(sample.labels, sample.value)
    lines = []
    for metric in METRICS:
        if metric.name in by_name:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            for labels, value in by_name[metric.name].items():
                lines.append(f"{metric.name}{_labels(metric.labels, labels)} {value!r}")
    return "".join(f"{line}\n" for line in lines)


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values))
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _sample(name: str, value: Any, *labels: str) -> Sample:
    if len(labels) != len(BY_NAME[name].labels):
        raise ValueError(f"{name} takes {len(BY_NAME[name].labels)} labels, not {len(labels)}")
    return Sample(name, labels, int(value) if isinstance(value, bool) else value)


def _columns(prefix: str, columns: Dict[str, str], row: Row, *labels: str) -> Iterator[Sample]:
    """Yield a sample for each column that the report has."""
    for name, column in columns.items():
        if row.get(column) is not None:
            yield _sample(prefix + name, row[column], *labels)


def _daemon(facts: Row) -> Iterator[Sample]:
    yield _sample("chrony_up", facts["tracking"] is not None)
    daemon = facts["daemon"]
    nts = {True: "yes", False: "no"}.get(daemon["features"].get("NTS"), "")
    yield _sample("chrony_info", 1, daemon.get("version") or "", nts)
    if daemon.get("clock_control") is not None:
        yield _sample("chrony_clock_controlled", daemon["clock_control"])


def _tracking(facts: Row) -> Iterator[Sample]:
    row = facts["tracking"]
    if row is None:
        return
    # The name is an address, the reference ID of a reference clock as text, or empty.
    address = row["reference_name"] or row["reference_id"]
    names = {source["address"]: source["name"] for source in facts["sources"] or [] if source["address"]}
    yield _sample("chrony_tracking_info", 1, address, names.get(address, address), row["reference_id"])
    yield from _columns("chrony_tracking_", TRACKING, row)
    if row["offset_seconds"] is not None:
        # In the facts, positive means that the clock is ahead. On the wire, and in chrony_exporter, the value is the
        # remaining correction, which has the opposite sign.
        yield _sample("chrony_tracking_system_time_seconds", 0.0 - row["offset_seconds"])
    is_remote = row["reference_id"] != LOCAL_REFERENCE_ID and any(letter in address for letter in ".:")
    yield _sample("chrony_tracking_remote_reference", is_remote)
    if row["leap_status"] in LEAP_NUMBERS:
        yield _sample("chrony_tracking_leap_status", LEAP_NUMBERS[row["leap_status"]])
    if row["error_bound_seconds"] is not None:
        yield _sample("chrony_clock_error_bound_seconds", row["error_bound_seconds"])


def labels_of(source: Row) -> Optional[Tuple[str, str]]:
    """Return address and name of a source as labels; None for a source without an address, as in chrony_exporter."""
    if source["mode"] == "refclock":
        return source["name"], source["name"]
    return (source["address"], source["name"]) if source["address"] else None


def _sources(facts: Row) -> Iterator[Sample]:
    for source in facts["sources"] or []:
        labels = labels_of(source)
        if labels:
            yield from _source(source, labels)
            yield from _auth(source, labels)
    activity = facts["activity"]
    for state in ACTIVITIES if activity else ():
        yield _sample("chrony_activity_sources", activity[state], state)


def _source(source: Row, labels: Tuple[str, str]) -> Iterator[Sample]:
    if source["last_rx_seconds"] is not None:
        yield _sample("chrony_sources_last_sample_age_seconds", source["last_rx_seconds"], *labels)
    if source["reach"] is not None:
        answered = bin(source["reach"]).count("1")
        yield _sample("chrony_sources_reachability_ratio", answered / POLLS, *labels)
        yield _sample("chrony_sources_reachability_success", source["reach"] & 1, *labels)
    columns = {
        "last_sample_offset_seconds": "offset_seconds",
        "last_sample_error_margin_seconds": "error_seconds",
        "stratum": "stratum",
    }
    yield from _columns("chrony_sources_", columns, source, *labels)
    if source["poll_log2_seconds"] is not None:
        yield _sample("chrony_sources_polling_interval_seconds", 2.0 ** source["poll_log2_seconds"], *labels)
    state, mode = SOURCE_STATES.get(source["state"], "unknown"), SOURCE_MODES.get(source["mode"], "unknown")
    yield _sample("chrony_sources_state_info", 1, *labels, state, mode)
    yield from _columns("chrony_sourcestats_", SOURCESTATS, source["stats"] or {}, *labels)
    ntp = source["ntpdata"]
    if ntp:
        yield from _columns("chrony_sources_", PEER, ntp, *labels)
        if ntp["offset_seconds"] is not None:
            yield _sample("chrony_sources_peer_offset_seconds", 0.0 - ntp["offset_seconds"], *labels)
        if ntp["authenticated"] is not None:
            yield _sample("chrony_ntpdata_authenticated", ntp["authenticated"], *labels)
    if source["selection"]:
        yield _sample("chrony_selectdata_state_info", 1, *labels, source["selection"]["state"])


def _auth(source: Row, labels: Tuple[str, str]) -> Iterator[Sample]:
    auth = source["auth"]
    yield _sample("chrony_nts_source_state_info", 1, *labels, source["nts"]["state"])
    if not auth:
        return
    yield _sample("chrony_authdata_mode_info", 1, *labels, auth["mode"])
    if auth["mode"] != "nts":
        return
    yield from _columns("chrony_authdata_", AUTHDATA, auth, *labels)
    if auth["key_length_bits"] is not None:
        yield _sample("chrony_authdata_key_length_bytes", auth["key_length_bits"] // 8, *labels)
    if auth["aead"]:
        yield _sample("chrony_authdata_key_type_info", 1, *labels, AEADS.get(auth["aead"], str(auth["aead"])))


def _verdict(facts: Row) -> Iterator[Sample]:
    yield _sample("chrony_nts_authenticated", facts["nts"]["authenticated"])
    yield _sample("chrony_nts_state_info", 1, facts["nts"]["state"])
    if facts.get("goal"):
        yield _sample("chrony_nts_goal_reached", facts["goal_reached"])
    sources = facts["sources"]
    if sources is None:
        return
    follows = bool(facts["tracking"] and facts["tracking"]["synchronised"])
    loose = [source for source in sources if source["state"] in FOLLOWED and kind_of(source) == "plain"]
    yield _sample("chrony_nts_unauthenticated_selected", follows and loose != [])
    states = [source["nts"]["state"] for source in sources]
    for state in VERDICTS_OF_SOURCES:
        yield _sample("chrony_nts_sources", states.count(state), state)


def _served(facts: Row) -> Iterator[Sample]:
    return _columns("chrony_serverstats_", SERVERSTATS, facts["serverstats"] or {})


def _clients(facts: Row) -> Iterator[Sample]:
    counts = facts.get("client_counts")
    for protocol in PROTOCOLS:
        if counts:
            yield _sample("chrony_clients", counts[protocol], protocol)


def _correct_counters(found: List[Sample], server: Optional[Row]) -> List[Sample]:
    """Subtract the probe's connections from chronyd's counter of key exchanges; return a sample of their number."""
    if not server:
        return []
    own = server["connections"]
    name = "chrony_serverstats_nts_ke_connections_accepted_total"
    for index, sample in enumerate(found):
        if sample.name == name:
            found[index] = sample._replace(value=max(0, sample.value - own))
    return [_sample("chrony_nts_server_probe_connections_total", own)]


def _server(server: Row) -> Iterator[Sample]:
    for anchor in server.get("anchors", []):
        labels = (anchor["file"], anchor["subject"], anchor["fingerprint"])
        for end in ("not_before", "not_after"):
            # The memory file of an earlier version has no not_before.
            if anchor.get(end) is not None:
                yield _sample(f"chrony_nts_trust_anchor_{end}_timestamp_seconds", anchor[end], *labels)
    if server.get("keys_age_seconds") is not None:
        yield _sample("chrony_nts_server_keys_age_seconds", server["keys_age_seconds"])
    for pair in server.get("pairs", []):
        yield from _pair(pair)


def _pair(pair: Row) -> Iterator[Sample]:
    prefix = "chrony_nts_server_"
    for place in ("file", "served"):
        if pair[place]:
            for end in ("not_before", "not_after"):
                name = f"{prefix}certificate_{end}_timestamp_seconds"
                yield _sample(name, pair[place][end], pair["id"], place)
    if pair["chain_not_after"] is not None:
        name = f"{prefix}certificate_chain_not_after_timestamp_seconds"
        yield _sample(name, pair["chain_not_after"], pair["id"])
    if pair["matches"] is not None:
        yield _sample(f"{prefix}certificate_served_matches_file", pair["matches"], pair["id"])
    for stage in PROBE_STAGES:
        passed, seconds = pair["stages"].get(stage, (None, None))
        if passed is not None:
            yield _sample(f"{prefix}probe_success", passed, pair["id"], stage)
        if seconds is not None:
            yield _sample(f"{prefix}probe_duration_seconds", seconds, pair["id"], stage)
    if pair["probed"] is not None:
        yield _sample(f"{prefix}probe_timestamp_seconds", round(pair["probed"], 3), pair["id"])
