# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The table of the monitor's metrics: name, type, help, unit, labels and source.

Alert rules, dashboards and docs/monitoring.md follow from this table. A metric that chrony_exporter (0.13.3) also has
keeps that exporter's name, labels, sign and unit, so that its dashboards show both.
"""

from typing import NamedTuple, Tuple

GAUGE, COUNTER = "gauge", "counter"

SOURCE = ("source_address", "source_name")
# Values of labels, in the order of the output.
# Of chrony_sources_state_info, in the words of chrony_exporter, which come from its library.
SOURCE_STATES = {
    "selected": "sync",
    "unusable": "unreach",
    "falseticker": "falseticker",
    "variable": "jittery",
    "combined": "candidate",
    "not_combined": "outlier",
}
SOURCE_MODES = {"server": "client", "peer": "peer", "refclock": "reference clock"}
# Of chrony_tracking_leap_status.
LEAP_NUMBERS = {"normal": 0, "insert_second": 1, "delete_second": 2, "not_synchronised": 3}
# Of chrony_nts_state_info and of the sources (docs/verdict.md).
HOST_STATES = ("authenticated", "partial", "pending", "failed", "unauthenticated", "not_running", "unknown")
VERDICTS_OF_SOURCES = ("authenticated", "pending", "failed", "unauthenticated", "unknown")
ACTIVITIES = ("online", "offline", "burst_to_online", "burst_to_offline", "unresolved")
# AEAD algorithms (RFC 5297 and RFC 8452) by their IANA numbers.
AEADS = {15: "AES-SIV-CMAC-256", 30: "AES-128-GCM-SIV"}
PROBE_STAGES = ("dns", "tcp", "tls", "ke", "ntp")
PLACES = ("file", "served")
PROTOCOLS = ("nts", "plain")


class Metric(NamedTuple):
    """A metric.

    report is its source: a report of chronyc, or verdict, server, trust or collector. unit is empty for a number
    without one. in_exporter says whether chrony_exporter has it, too. note is an addition for the documentation.
    """

    name: str
    kind: str
    help: str
    unit: str = ""
    labels: Tuple[str, ...] = ()
    report: str = ""
    in_exporter: bool = False
    note: str = ""


def _tracking(name: str, text: str, unit: str = "", note: str = "", in_exporter: bool = True) -> Metric:
    return Metric(f"chrony_tracking_{name}", GAUGE, text, unit, (), "tracking", in_exporter, note)


def _source(name: str, text: str, unit: str = "", report: str = "sources", note: str = "") -> Metric:
    labels = (*SOURCE, "source_state", "source_mode") if name == "state_info" else SOURCE
    return Metric(f"chrony_sources_{name}", GAUGE, text, unit, labels, report, True, note)


def _stats(name: str, text: str, unit: str = "") -> Metric:
    return Metric(f"chrony_sourcestats_{name}", GAUGE, text, unit, SOURCE, "sourcestats", True)


def _auth(name: str, text: str, unit: str = "", kind: str = GAUGE, label: str = "", note: str = "") -> Metric:
    labels = (*SOURCE, label) if label else SOURCE
    return Metric(f"chrony_authdata_{name}", kind, text, unit, labels, "authdata", False, note)


def _served(name: str, text: str, kind: str = COUNTER, unit: str = "", note: str = "") -> Metric:
    return Metric(f"chrony_serverstats_{name}", kind, text, unit, (), "serverstats", True, note)


def _server(name: str, text: str, unit: str = "", labels: Tuple[str, ...] = ("pair",), note: str = "") -> Metric:
    kind = COUNTER if name.endswith("_total") else GAUGE
    return Metric(f"chrony_nts_server_{name}", kind, text, unit, labels, "server", False, note)


METRICS = (
    Metric("chrony_up", GAUGE, "Whether chronyd answers chronyc.", "", (), "tracking", True),
    Metric(
        "chrony_info",
        GAUGE,
        "Version of chronyd, and whether it is built with NTS (yes, no, or empty where that is not known).",
        "",
        ("version", "nts"),
        "chronyd",
    ),
    Metric(
        "chrony_clock_controlled",
        GAUGE,
        "Whether chronyd sets the clock: 0 with the option -x.",
        "",
        (),
        "chronyd",
        False,
        "Missing where chronyd does not run.",
    ),
    # tracking
    _tracking("info", "Reference of the clock, by address, name and reference ID.")._replace(
        labels=("tracking_address", "tracking_name", "tracking_refid")
    ),
    _tracking("last_offset_seconds", "Estimated offset at the last clock update.", "seconds"),
    _tracking(
        "reference_timestamp_seconds",
        "Time of the last measurement from the reference, as seconds since 1970.",
        "seconds",
    ),
    _tracking(
        "system_time_seconds",
        "Correction that remains to be applied to the clock.",
        "seconds",
        "Positive: the clock is behind.",
    ),
    _tracking(
        "remote_reference",
        "Whether the reference has an IP address.",
        note="0 for the directive local and for reference clocks; chrony_exporter shows 1 for both.",
    ),
    _tracking("rms_offset_seconds", "Long-term average of the offset.", "seconds"),
    _tracking("root_delay_seconds", "Sum of the network delays to the stratum 1 server.", "seconds"),
    _tracking("root_dispersion_seconds", "Sum of the dispersions up to the stratum 1 server.", "seconds"),
    _tracking("frequency_ppms", "Rate by which the clock would be wrong without chronyd.", "ppm"),
    _tracking("residual_frequency_ppms", "Frequency that the reference suggests, less the one in use.", "ppm"),
    _tracking("skew_ppms", "Estimated error bound of the frequency.", "ppm"),
    _tracking("update_interval_seconds", "Interval between the last two clock updates.", "seconds"),
    _tracking("stratum", "Stratum of the host.", note="0 while the clock is not synchronised."),
    _tracking(
        "leap_status",
        "Leap status: 0 normal, 1 a second is inserted, 2 a second is deleted, 3 not synchronised.",
        in_exporter=False,
    ),
    # sources and ntpdata
    _source(
        "last_sample_age_seconds", "Age of the last good sample.", "seconds", note="Missing before the first sample."
    ),
    _source("reachability_ratio", "Part of the last eight polls that was answered."),
    _source("reachability_success", "Whether the last poll was answered."),
    _source(
        "last_sample_offset_seconds", "Offset of the last sample.", "seconds", note="Positive: the clock is ahead."
    ),
    _source("last_sample_error_margin_seconds", "Error bound of the last sample.", "seconds"),
    _source("polling_interval_seconds", "Interval between two polls.", "seconds"),
    _source("state_info", "State and mode of the source."),
    _source("stratum", "Stratum of the source."),
    _source(
        "peer_offset_seconds", "Offset of the last packet.", "seconds", "ntpdata", note="Positive: the clock is behind."
    ),
    _source("peer_delay_seconds", "Round trip of the last packet.", "seconds", "ntpdata"),
    _source("peer_dispersion_seconds", "Dispersion of the last packet.", "seconds", "ntpdata"),
    _source("peer_response_time_seconds", "Time that the server took for its last answer.", "seconds", "ntpdata"),
    _source(
        "peer_jitter_asymmetry_seconds", "Asymmetry of the network jitter, from -0.5 to 0.5.", "seconds", "ntpdata"
    ),
    Metric(
        "chrony_ntpdata_authenticated",
        GAUGE,
        "Whether the last packet of the source was authenticated.",
        "",
        SOURCE,
        "ntpdata",
    ),
    # sourcestats
    _stats("samples", "Number of samples that chronyd keeps of the source."),
    _stats("runs", "Number of runs of residuals with the same sign."),
    _stats("span_seconds", "Interval between the oldest and the newest sample.", "seconds"),
    _stats("stddev", "Estimated standard deviation of the samples.", "seconds"),
    _stats("frequency_ppms", "Estimated residual frequency of the source.", "ppm"),
    _stats("frequency_skew_ppms", "Estimated error bound of the residual frequency.", "ppm"),
    _stats("offset", "Estimated offset of the source.", "seconds"),
    # authdata
    _auth("mode_info", "Authentication of the source: nts, symmetric_key or none.", label="mode"),
    _auth(
        "key_establishments_total",
        "Number of successful key exchanges since chronyd's start.",
        kind=COUNTER,
        note="chronyd counts on from the cookies that it saved at its last stop.",
    ),
    _auth("key_establishment_attempts", "Attempts of the key exchange since the last authenticated answer."),
    _auth(
        "last_key_establishment_age_seconds",
        "Age of the last successful key exchange.",
        "seconds",
        note="Missing before the first one.",
    ),
    _auth("nak", "Whether the server has refused the cookies (NTS NAK) since the last authenticated answer."),
    _auth("cookies", "Number of cookies that are left, at most 8."),
    _auth("cookie_length_bytes", "Length of the cookies.", "bytes"),
    _auth(
        "key_length_bytes",
        "Length of a key; 0 without keys.",
        "bytes",
        note="promtool asks for bytes; chronyc shows bits.",
    ),
    _auth("key_type_info", "AEAD algorithm of the keys.", label="aead", note="Missing without keys."),
    # selectdata and activity
    Metric(
        "chrony_selectdata_state_info",
        GAUGE,
        "State of the source in chronyd's selection.",
        "",
        (*SOURCE, "state"),
        "selectdata",
    ),
    Metric("chrony_activity_sources", GAUGE, "Number of sources by activity.", "", ("state",), "activity", False, ""),
    # verdict
    Metric("chrony_nts_authenticated", GAUGE, "Whether the clock follows authenticated time.", "", (), "verdict"),
    Metric(
        "chrony_nts_state_info",
        GAUGE,
        "State of the host; the reasons are in the state log and in the output of nts-monitor --json.",
        "",
        ("state",),
        "verdict",
    ),
    Metric(
        "chrony_nts_goal_reached",
        GAUGE,
        "Whether the host reaches its goal: authenticated time, or a synchronised clock.",
        "",
        (),
        "verdict",
        False,
        "A server without NTS sources, as one at stratum 1, has the second goal (chrony_monitor_goal).",
    ),
    Metric(
        "chrony_nts_unauthenticated_selected",
        GAUGE,
        "Whether the clock follows a source for which nothing vouches: no NTS, symmetric key or option trust, and no"
        " reference clock.",
        "",
        (),
        "verdict",
    ),
    Metric("chrony_nts_sources", GAUGE, "Number of sources by their verdict.", "", ("state",), "verdict"),
    Metric("chrony_nts_source_state_info", GAUGE, "Verdict of the source.", "", (*SOURCE, "state"), "verdict"),
    Metric(
        "chrony_clock_error_bound_seconds",
        GAUGE,
        "Largest possible error of the clock: remaining correction, root dispersion and half of the root delay.",
        "seconds",
        (),
        "verdict",
    ),
    Metric(
        "chrony_nts_trust_anchor_not_before_timestamp_seconds",
        GAUGE,
        "Begin of a trust anchor that chronyd was given (ntstrustedcerts), as seconds since 1970.",
        "seconds",
        ("file", "subject", "fingerprint"),
        "trust",
        False,
        "Missing for a file of more than 20 certificates, as that of a distribution.",
    ),
    Metric(
        "chrony_nts_trust_anchor_not_after_timestamp_seconds",
        GAUGE,
        "End of a trust anchor that chronyd was given (ntstrustedcerts), as seconds since 1970.",
        "seconds",
        ("file", "subject", "fingerprint"),
        "trust",
        False,
        "Missing for a file of more than 20 certificates, as that of a distribution.",
    ),
    # serverstats
    _served("ntp_packets_received_total", "Number of valid NTP requests."),
    _served("ntp_packets_dropped_total", "Number of NTP requests dropped by ratelimit."),
    _served("command_packets_received_total", "Number of command requests."),
    _served("command_packets_dropped_total", "Number of command requests dropped by cmdratelimit."),
    _served("client_log_records_dropped_total", "Number of client records dropped for clientloglimit."),
    _served(
        "nts_ke_connections_accepted_total",
        "Number of NTS-KE connections, without those of the probe.",
        note="chrony_exporter counts those of the probe, too.",
    ),
    _served("nts_ke_connections_dropped_total", "Number of NTS-KE connections dropped by ntsratelimit."),
    _served("authenticated_ntp_packets_total", "Number of NTP requests with a symmetric key or NTS."),
    _served("interleaved_ntp_packets_total", "Number of NTP requests in the interleaved mode."),
    _served("ntp_timestamps_held", "Number of timestamps kept for the interleaved mode.", GAUGE),
    _served("ntp_timestamp_span_seconds", "Interval of the kept timestamps.", GAUGE, "seconds"),
    _served("ntp_daemon_rx_timestamps_total", "Number of answers with a receive timestamp of chronyd."),
    _served("ntp_daemon_tx_timestamps_total", "Number of answers with a transmit timestamp of chronyd."),
    _served("ntp_kernel_rx_timestamps_total", "Number of answers with a receive timestamp of the kernel."),
    _served("ntp_kernel_tx_timestamps_total", "Number of answers with a transmit timestamp of the kernel."),
    _served("ntp_hw_rx_timestamps_total", "Number of answers with a receive timestamp of the network card."),
    _served("ntp_hw_tx_timestamps_total", "Number of answers with a transmit timestamp of the network card."),
    # clients
    Metric(
        "chrony_clients",
        GAUGE,
        "Number of clients by protocol: nts has made a key exchange within the last 35 days, plain has not.",
        "",
        ("protocol",),
        "clients",
        False,
        "Only with chrony_monitor_clients.",
    ),
    # server
    _server(
        "certificate_not_before_timestamp_seconds",
        "Begin of the server's certificate, as seconds since 1970.",
        "seconds",
        ("pair", "place"),
    ),
    _server(
        "certificate_not_after_timestamp_seconds",
        "End of the server's certificate, as seconds since 1970.",
        "seconds",
        ("pair", "place"),
    ),
    _server(
        "certificate_chain_not_after_timestamp_seconds",
        "First end of the certificates behind the server's in the file, as seconds since 1970.",
        "seconds",
        note="Missing where the file has one certificate.",
    ),
    _server(
        "certificate_served_matches_file",
        "Whether chronyd serves the certificate of the file.",
        note="0 after a renewal without a restart. Missing where chronyd served none.",
    ),
    _server(
        "probe_success",
        "Whether the host's own probe passed a stage: dns, tcp, tls, ke, ntp.",
        "",
        ("pair", "stage"),
        "The stage that failed and those after it are 0.",
    ),
    _server("probe_duration_seconds", "Time that the stage took.", "seconds", ("pair", "stage")),
    _server("probe_timestamp_seconds", "Time of the last probe, as seconds since 1970.", "seconds"),
    _server(
        "probe_connections_total",
        "Number of NTS-KE connections of the probe since chronyd's start.",
        "",
        (),
        "chrony_serverstats_nts_ke_connections_accepted_total leaves them out.",
    ),
    _server(
        "keys_age_seconds",
        "Time since chronyd saved the keys of its cookies: at a rotation, and at its stop.",
        "seconds",
        (),
        "Missing without ntsdumpdir.",
    ),
    # collector
    Metric("chrony_collector_success", GAUGE, "Whether the last run read every report.", "", (), "collector"),
    Metric(
        "chrony_collector_last_run_timestamp_seconds",
        GAUGE,
        "Time of the last run, as seconds since 1970.",
        "seconds",
        (),
        "collector",
    ),
    Metric("chrony_collector_duration_seconds", GAUGE, "Time that the last run took.", "seconds", (), "collector"),
    Metric(
        "chrony_collector_interval_seconds",
        GAUGE,
        "Interval between two runs (chrony_monitor_interval_seconds).",
        "seconds",
        (),
        "collector",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
