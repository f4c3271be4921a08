#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: chronyc_facts
short_description: Say what chrony does, and whether the clock follows authenticated time
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Reads chronyd's reports, its process and unit, and what stands in its way on the host, and gives one verdict in
    RV(ansible_facts.chrony.nts.state) with reasons an operator can act on.
  - Only reads. A host without chrony, or with a chronyd that is stopped or hangs, is a finding and not an error.
  - With O(wait_for) it looks again on the host, after pauses that grow from 0.2 to 2 seconds, so that waiting costs
    one task.
  - chronyd gives an ordinary user only some of the reports. The others are null then, and named in
    RV(ansible_facts.chrony.refused). Run it with C(become) to know about NTS.
attributes:
  action:
    description: Has a plugin on the controller, which takes no other facts of the host than are documented.
    support: full
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: Never changes anything.
    support: none
  facts:
    description: Returns a fact that is used by name in later tasks.
    support: full
  platform:
    description: Linux, chrony 4.0 or newer. Units and the journal are read where there is systemd.
    support: full
    platforms: posix
options:
  wait_for:
    description:
      - Look again until so many sources as O(min_sources) says have come this far, or O(timeout) is over. Without it,
        look once.
      - V(authenticated) is so when RV(ansible_facts.chrony.nts.authenticated) is true and so many sources are proven
        to be authenticated now.
      - V(synchronised) is so when the clock follows so many sources, authenticated or not, and not only itself.
      - V(reachable) is so when so many sources gave a usable answer to one of their last eight requests.
    type: str
    choices: [authenticated, synchronised, reachable]
  min_sources:
    description: How many sources O(wait_for) is about.
    type: int
    default: 1
  max_offset:
    description:
      - How many seconds the clock may be off at most, ahead or behind, for O(wait_for) to be so. It is about
        RV(ansible_facts.chrony.tracking.offset_seconds).
      - Only with O(wait_for=authenticated) and O(wait_for=synchronised).
    type: float
  timeout:
    description: How many seconds O(wait_for) may take. One last look can still take O(command_timeout) longer.
    type: float
    default: 10.0
  fail_on_timeout:
    description: Fail, with the reasons of the verdict, when O(timeout) is over before O(wait_for) is so.
    type: bool
    default: false
  command_timeout:
    description: How many seconds a program may take to answer. It bounds the look at a chronyd that hangs.
    type: float
    default: 5.0
  log_lines:
    description:
      - Look into the journal when a source with NTS is not authenticated. chronyd's reports show every failed key
        exchange alike. Only its log says why it failed.
    type: bool
    default: true
  reports:
    description:
      - Reports to read besides the usual ones. Each is null where it is not asked for.
      - V(clients) grows with the number of clients that the server remembers (directive C(clientloglimit)).
    type: list
    elements: str
    choices: [clients, manual, rtcdata, smoothing, waitsync]
    default: []
  packages:
    description: Packages whose versions to report in RV(ansible_facts.chrony.environment.packages). A name that the
      distribution does not have does no harm.
    type: list
    elements: str
    default: []
  certificates:
    description: Read the certificates in the files that chronyd's configuration names, those that a server serves and
      those that are trusted, into RV(ansible_facts.chrony.certificates). Needs root.
    type: bool
    default: false
notes:
  - Every offset has one direction, whatever the report's own, namely that a positive offset means that this host's
    clock is ahead.
  - What a version of chrony does not report is null. What it reports beyond the known columns is in a list named
    C(extra).
seealso:
  - module: securetime.nts.chrony_config
"""

EXAMPLES = r"""
- name: Look at chrony
  securetime.nts.chronyc_facts:
  become: true

- name: Fail where the clock does not follow authenticated time
  ansible.builtin.assert:
    that: ansible_facts.chrony.nts.authenticated
    fail_msg: "{{ ansible_facts.chrony.nts.reasons | join(' ') }}"

- name: Wait until the clock is right to a millisecond, by at least two authenticated sources
  securetime.nts.chronyc_facts:
    wait_for: authenticated
    min_sources: 2
    max_offset: 0.001
    timeout: 120
  become: true

- name: Ask a server who its clients are
  securetime.nts.chronyc_facts:
    reports: [clients]
  become: true

- name: Give a restarted chronyd half a minute to authenticate three sources
  securetime.nts.chronyc_facts:
    wait_for: authenticated
    min_sources: 3
    timeout: 30
    fail_on_timeout: true
  become: true

- name: List the sources that are not authenticated, and why
  ansible.builtin.debug:
    msg: "{{ ansible_facts.chrony.sources | map(attribute='nts') | rejectattr('state', 'eq', 'authenticated') }}"
"""

RETURN = r"""
reached:
  description: Whether what O(wait_for) asked for was so at the last look. Null without O(wait_for).
  type: bool
  returned: success
  sample: true
waited_seconds:
  description: Seconds from the first look to the end of the last.
  type: float
  returned: success
  sample: 4.31
progress:
  description: How far each source got, in one line each, with its state of RV(ansible_facts.chrony.nts.state), its
    state of chronyd's selection and its reach in octal as chronyc shows it.
  type: list
  elements: str
  returned: success
  sample: ["nts1.example.org: authenticated, selected, reach 377", "nts2.example.org: failed, unusable, reach 000"]
ansible_facts:
  description: The facts.
  type: dict
  returned: always
  contains:
    chrony:
      description: What chrony does. Returned whether or not it is installed.
      type: dict
      returned: always
      contains:
        nts:
          description: The verdict.
          type: dict
          returned: always
          contains:
            state:
              description:
                - V(authenticated) - a source with NTS is proven to be authenticated now and agrees with what the clock
                  follows, and so does each other source with NTS. chronyd may follow nothing else, or only what
                  RV(ansible_facts.chrony.nts.notes) names.
                - V(partial) - the same, but some source with NTS is not authenticated now.
                - V(pending) - there are sources with NTS and the clock does not follow them yet. Not all of them have
                  failed.
                - V(failed) - the same, and all of them have failed or are never to be followed (option noselect).
                - V(unauthenticated) - chronyd follows, or may at any time follow, a source without NTS that nothing
                  vouches for; or what it follows is confirmed by no source with NTS; or no source is configured with
                  NTS.
                - V(not_running) - chronyd is not installed or not running.
                - V(unknown) - chronyd runs, but gives chronyc no report, or none that tells about NTS.
              type: str
              returned: always
              sample: authenticated
            authenticated:
              description:
                - Whether the clock follows authenticated time, and nothing else but what the operator declared right.
                  True in the states V(authenticated) and V(partial).
              type: bool
              returned: always
              sample: true
            authenticated_sources:
              description: How many sources are proven to be authenticated now.
              type: int
              returned: always
              sample: 4
            undeclared_sources:
              description:
                - Sources that no file names that chronyd reads (as C(chronyc add) and DHCP helpers add them), or that
                  it has more often than its files name them. Each has a sentence in
                  RV(ansible_facts.chrony.nts.reasons).
                - Null where chronyd gives no report of its sources, or this user cannot read all of the files.
              type: list
              returned: always
              elements: str
              sample: []
            reasons:
              description:
                - Why it is not V(authenticated), what else is wrong (a clock that is far off, a stratum that is too
                  high, sources that no file names), and what could not be read, in sentences. Empty if all is well.
              type: list
              returned: always
              elements: str
              sample: []
            notes:
              description:
                - What chronyd may follow besides sources with NTS while RV(ansible_facts.chrony.nts.authenticated) is
                  true, in sentences. Reference clocks, sources with a symmetric key, and sources with the option
                  trust, by which the operator declares them right; other sources without NTS where they are kept
                  within the time of those with the option trust, which C(authselectmode mix) gives to sources with
                  NTS, or where others are preferred.
                - They are about the configuration, and not about what chronyd follows at the moment.
              type: list
              returned: always
              elements: str
              sample: ["chronyd may follow GPS, too (a reference clock, which needs no authentication)."]
        installed:
          description: Whether there is a C(chronyd) on the host.
          type: bool
          returned: always
          sample: true
        running:
          description: Whether chronyd runs.
          type: bool
          returned: always
          sample: true
        access:
          description:
            - How chronyd was asked, or why it was not.
            - V(socket) - over the Unix socket of root and chronyd's user, which gives every report.
            - V(udp) - over the port on the loopback interface, as others are, with fewer reports. Root too, where the
              socket is disabled.
            - V(closed) - chronyc finds neither the socket nor the port open to it.
            - V(silent) - no answer within O(command_timeout), as of a process that hangs.
            - V(unusable) - chronyc is not installed or cannot be run.
            - Null if chronyd does not run.
          type: str
          returned: always
          sample: socket
        refused:
          description:
            - The reports that chronyd did not give, with the status that chronyc printed. They are null.
            - 501 is for want of rights. 502, 508 and 518 are of a chronyc that is of another version than chronyd. 505
              and 513 say that the directive for the report is not configured.
          type: dict
          returned: always
          sample: {serverstats: 501 Not authorised}
        client:
          description: The program C(chronyc).
          type: dict
          returned: always
          contains:
            path:
              description: Its path.
              type: str
              returned: always
              sample: /usr/bin/chronyc
            version:
              description: Its version.
              type: str
              returned: always
              sample: 4.6.1
        daemon:
          description: The program C(chronyd), and the process if it runs. What needs the process is null without it.
          type: dict
          returned: always
          contains:
            path:
              description: Path of the program.
              type: str
              returned: always
              sample: /usr/sbin/chronyd
            version:
              description: Its version.
              type: str
              returned: always
              sample: 4.6.1
            features:
              description: What it was built with and without, by the names that C(chronyd -v) prints.
              type: dict
              returned: always
              sample: {NTS: true, DEBUG: false}
            config_file:
              description: The configuration file, of the process or else the one that the program was built for.
              type: str
              returned: always
              sample: /etc/chrony/chrony.conf
            pid:
              description: Process ID.
              type: int
              returned: always
              sample: 512
            started:
              description: When it was started, in seconds since 1970 by this host's clock of now.
              type: float
              returned: always
              sample: 1795420100.52
            uptime_seconds:
              description: How long it has been running.
              type: float
              returned: always
              sample: 4711.08
            user:
              description: The user it runs as.
              type: str
              returned: always
              sample: _chrony
            arguments:
              description: Its command line.
              type: list
              returned: always
              elements: str
              sample: [/usr/sbin/chronyd, -F, '1']
            unit:
              description: The systemd unit that it belongs to, which can be another one than
                RV(ansible_facts.chrony.unit). Null where it belongs to none.
              type: str
              returned: always
              sample: chrony.service
            clock_control:
              description: Whether it may control the clock. False with the option C(-x).
              type: bool
              returned: always
              sample: true
            replaced:
              description:
                - Whether the program has been replaced or removed since the start, as an update without a restart does.
                  Null for users who may not look.
              type: bool
              returned: always
              sample: false
        unit:
          description: The systemd unit of chronyd. Null where there is none.
          type: dict
          returned: always
          contains:
            name:
              description: Its name.
              type: str
              returned: always
              sample: chrony.service
            load_state:
              description: V(loaded), V(masked), ...
              type: str
              returned: always
              sample: loaded
            active_state:
              description: V(active), V(inactive), V(failed), ...
              type: str
              returned: always
              sample: active
            unit_file_state:
              description: V(enabled), V(disabled), V(masked), ...
              type: str
              returned: always
              sample: enabled
            skipped:
              description:
                - Whether systemd skipped it at its last start, for a condition that is not met. That is no error to
                  systemd.
              type: bool
              returned: always
              sample: false
        environment:
          description: What on the host matters to chrony.
          type: dict
          returned: always
          contains:
            os:
              description: The distribution, out of os-release(5).
              type: dict
              returned: always
              contains:
                id:
                  description: Its identifier.
                  type: str
                  returned: always
                  sample: rocky
                like:
                  description: Identifiers of the distributions that it is derived from, the closest first.
                  type: list
                  elements: str
                  returned: always
                  sample: [rhel, centos, fedora]
                name:
                  description: Its name.
                  type: str
                  returned: always
                  sample: Rocky Linux
                version:
                  description: Its version. Null where it has none, as Debian testing.
                  type: str
                  returned: always
                  sample: "9.4"
            service_manager:
              description: V(systemd) where it manages the services, otherwise null.
              type: str
              returned: always
              sample: systemd
            package_manager:
              description: V(apt), V(dnf), V(dnf5) or V(zypper). Null where the host has none of them.
              type: str
              returned: always
              sample: dnf
            packages:
              description: Version of each package of O(packages). Null for one that is not installed completely, and
                as a whole where none was asked for.
              type: dict
              returned: always
              sample: {chrony: 4.6.1-3+deb13u1, certbot: null}
            own_ca:
              description: What the host has of a root CA of the role P(securetime.nts.chrony_nts#role).
              type: dict
              returned: always
              sample: {trusted: [0b1f2c...], issues: false}
              contains:
                trusted:
                  description: The SHA-256 fingerprints of the root CAs that the role gave the host as trust anchors.
                  type: list
                  elements: str
                  returned: always
                issues:
                  description: Whether the host holds an issuing CA that a root CA signed. Needs root.
                  type: bool
                  returned: always
            selinux:
              description: Whether the kernel has a policy of SELinux loaded, enforcing or permissive.
              type: bool
              returned: always
              sample: false
            python:
              description: The Python interpreter that ran the module.
              type: str
              returned: always
              sample: /usr/bin/python3
            container:
              description: The kind of container that the host is, as systemd names it. Null if it is none.
              type: str
              returned: always
              sample: podman
            cap_sys_time:
              description:
                - Whether a service of the host can be allowed to set the clock (bounding set of its first process).
              type: bool
              returned: always
              sample: true
            clock:
              description: The clock of the host, as it is before any of it is trusted.
              type: dict
              returned: always
              contains:
                time:
                  description: What the clock shows, in seconds since 1970.
                  type: float
                  returned: always
                  sample: 1795420109.21
                timesyncd_synchronised:
                  description: Whether systemd-timesyncd runs and has synchronised the clock.
                  type: bool
                  returned: always
                  sample: false
            drop_ins:
              description:
                - Files that others have put into F(/etc/chrony/conf.d), F(/etc/chrony/sources.d), F(/etc/chrony.d),
                  F(/usr/etc/chrony.d), F(/run/chrony.d) and F(/run/chrony-dhcp), whether or not chronyd reads them.
              type: list
              returned: always
              elements: str
              sample: [/etc/chrony/sources.d/ubuntu-ntp-pools.sources]
            drop_in_sources:
              description: The addresses of the time sources in each of these files.
              type: dict
              returned: always
              sample: {/run/chrony.d/link-local-ipv4.sources: [169.254.169.123]}
            distribution_files:
              description:
                - Files that are on the host, of those that the F(chrony.conf) of some distribution names - the tables
                  of leap seconds, and the certificate of Ubuntu's bootstrap server.
              type: list
              returned: always
              elements: str
              sample: [/usr/share/zoneinfo/leap-seconds.list]
            dhcp:
              description: How time servers that DHCP names reach chronyd.
              type: dict
              returned: always
              sample: {helper: false, peerntp: true}
              contains:
                helper:
                  description:
                    - Whether the distribution adds them to the running chronyd, whatever its configuration says
                      (F(/usr/libexec/chrony-helper) of Enterprise Linux 8).
                  type: bool
                  returned: always
                peerntp:
                  description: Whether F(/etc/sysconfig/network) lets them reach chronyd. False by C(PEERNTP=no).
                  type: bool
                  returned: always
            fips:
              description: Whether the kernel is in FIPS mode, which takes away an algorithm that NTS needs.
              type: bool
              returned: always
              sample: false
            rivals:
              description: Units of other time services that exist on the host, also the masked ones.
              type: list
              returned: always
              elements: dict
              contains:
                unit:
                  description: Name of the unit.
                  type: str
                  returned: always
                  sample: systemd-timesyncd.service
                load_state:
                  description: As systemd says.
                  type: str
                  returned: always
                  sample: masked
                active_state:
                  description: As systemd says.
                  type: str
                  returned: always
                  sample: inactive
                unit_file_state:
                  description: As systemd says.
                  type: str
                  returned: always
                  sample: masked
            chrony_wait:
              description: Whether F(chrony-wait.service) waits for chronyd at the boot, as systemd says. Null where
                there is no such unit.
              type: str
              returned: always
              sample: disabled
            daemon_options:
              description:
                - The options that others give chronyd, in the environment files of its unit. What the role chrony_nts
                  gives is not among them.
                - Null where there is no unit, or a masked one.
              type: dict
              returned: always
              contains:
                files:
                  description: The environment files of the unit, of which a later one has the last word.
                  type: list
                  elements: str
                  returned: always
                  sample: [/etc/sysconfig/chronyd]
                variables:
                  description: The words of each variable that the unit's command line names.
                  type: dict
                  returned: always
                  sample: {OPTIONS: [-F, '2', -u, chrony]}
            clock_setters:
              description:
                - Processes besides chronyd that have the right to set the host's clock (CAP_SYS_TIME) and are known to
                  do so, namely other time daemons, another chronyd, C(phc2sys), C(ptp4l) and the tools of hypervisors.
                - Null where they were not looked for.
              type: list
              returned: always
              elements: dict
              contains:
                process:
                  description: Name of the process.
                  type: str
                  returned: always
                  sample: phc2sys
                pid:
                  description: ID of the process.
                  type: int
                  returned: always
                  sample: 812
                unit:
                  description: Its systemd unit. Null where it belongs to none.
                  type: str
                  returned: always
                  sample: phc2sys@eth0.service
                sets_clock:
                  description: Whether it sets the clock by itself, and not only where a hypervisor asks for that. Such
                    a process is a reason in RV(ansible_facts.chrony.nts.reasons) while chronyd sets the clock, too.
                  type: bool
                  returned: always
                  sample: true
                why:
                  description: How it sets the clock, and what to do about that.
                  type: str
                  returned: always
                  sample: it follows a PTP clock. Let it feed a refclock of chronyd (-E ntpshm), or stop it
            server_files:
              description:
                - Files and folders of an NTS server that this collection has put on the host and that are still there,
                  namely the renewal of certificates, and the pairs of certificate and key.
                - Which pairs there are is for root alone to read.
              type: list
              returned: always
              elements: str
              sample: [/etc/chrony/nts/server.key]
            firewall_rules:
              description:
                - The firewalls that have rules of M(securetime.nts.nts_firewall), whether they are active or not.
                - The rules of C(ufw) and C(nftables) are for root alone to see.
              type: list
              returned: always
              elements: str
              sample: [ufw]
        tracking:
          description: How the clock does. Null if chronyd did not answer.
          type: dict
          returned: always
          contains:
            synchronised:
              description: Whether the clock follows a source, and not only itself (directive local).
              type: bool
              returned: always
              sample: true
            error_bound_seconds:
              description:
                - How far the clock is off at most, that is the offset's size plus the root dispersion plus half the
                  root delay.
              type: float
              returned: always
              sample: 0.0123
            reference_id:
              description: Reference ID of what is followed, in hexadecimal. V(7F7F0101) is the host's own clock.
              type: str
              returned: always
              sample: C0000201
            reference_name:
              description: Address of the source, or name of the reference clock.
              type: str
              returned: always
              sample: 192.0.2.1
            stratum:
              description: Stratum of this host.
              type: int
              returned: always
              sample: 3
            reference_time:
              description: When the last measurement was processed, in seconds since 1970.
              type: float
              returned: always
              sample: 1795420100.52
            offset_seconds:
              description: Offset of the system clock from the time that chronyd steers it to.
              type: float
              returned: always
              sample: 0.000003
            last_offset_seconds:
              description: Offset at the last update of the clock.
              type: float
              returned: always
              sample: -0.000012
            rms_offset_seconds:
              description: Long-term average of the offset's size.
              type: float
              returned: always
              sample: 0.000021
            frequency_ppm:
              description: How much too fast the clock would run by itself, in parts per million.
              type: float
              returned: always
              sample: -11.42
            residual_frequency_ppm:
              description: Difference of the frequency by the last measurements to the one in use.
              type: float
              returned: always
              sample: 0.001
            skew_ppm:
              description: Error bound of the frequency.
              type: float
              returned: always
              sample: 0.03
            root_delay_seconds:
              description: Network delay to the primary source.
              type: float
              returned: always
              sample: 0.021
            root_dispersion_seconds:
              description: Dispersion up to the primary source.
              type: float
              returned: always
              sample: 0.0012
            update_interval_seconds:
              description: Interval between the last two updates of the clock.
              type: float
              returned: always
              sample: 1031.4
            leap_status:
              description: V(normal), V(insert_second), V(delete_second) or V(not_synchronised).
              type: str
              returned: always
              sample: normal
        activity:
          description: How many sources are in which state of polling. Null if chronyd did not answer.
          type: dict
          returned: always
          contains:
            online:
              description: Sources that are polled.
              type: int
              returned: always
              sample: 4
            offline:
              description: Sources that are not polled, as C(chronyc offline) asked.
              type: int
              returned: always
              sample: 0
            burst_to_online:
              description: Sources in a burst, to be polled on.
              type: int
              returned: always
              sample: 0
            burst_to_offline:
              description: Sources in a burst, to be offline after it.
              type: int
              returned: always
              sample: 0
            unresolved:
              description: Sources whose name has no address (yet), with the places that pools hold free.
              type: int
              returned: always
              sample: 0
        serverstats:
          description: What the daemon has served since its start. Null if it could not be read.
          type: dict
          returned: always
          contains:
            ntp_received:
              description: NTP requests received.
              type: int
              returned: always
              sample: 11
            ntp_dropped:
              description: NTP requests dropped by the rate limit.
              type: int
              returned: always
              sample: 0
            command_received:
              description: Requests received from chronyc.
              type: int
              returned: always
              sample: 0
            command_dropped:
              description: Requests from chronyc dropped by the rate limit.
              type: int
              returned: always
              sample: 0
            client_log_dropped:
              description: Records of clients dropped for want of memory.
              type: int
              returned: always
              sample: 0
            nts_ke_accepted:
              description: NTS-KE connections accepted. It says nothing about their success.
              type: int
              returned: always
              sample: 1
            nts_ke_dropped:
              description: NTS-KE connections dropped by the rate limit.
              type: int
              returned: always
              sample: 0
            ntp_authenticated:
              description: NTP requests received that were authenticated.
              type: int
              returned: always
              sample: 11
            ntp_interleaved:
              description: NTP requests received in interleaved mode. Null before chrony 4.2, as are the next two.
              type: int
              returned: always
              sample: 0
            ntp_timestamps_held:
              description: Timestamps held for interleaved mode.
              type: int
              returned: always
              sample: 0
            ntp_timestamps_span_seconds:
              description: Time that these timestamps span.
              type: int
              returned: always
              sample: 0
            ntp_daemon_rx_timestamps:
              description:
                - Requests with a receive timestamp of the daemon. Null before chrony 4.4, as are the next five.
              type: int
              returned: always
              sample: 0
            ntp_daemon_tx_timestamps:
              description: Responses with a transmit timestamp of the daemon.
              type: int
              returned: always
              sample: 11
            ntp_kernel_rx_timestamps:
              description: Requests with a receive timestamp of the kernel.
              type: int
              returned: always
              sample: 11
            ntp_kernel_tx_timestamps:
              description: Responses with a transmit timestamp of the kernel.
              type: int
              returned: always
              sample: 0
            ntp_hardware_rx_timestamps:
              description: Requests with a receive timestamp of the hardware.
              type: int
              returned: always
              sample: 0
            ntp_hardware_tx_timestamps:
              description: Responses with a transmit timestamp of the hardware.
              type: int
              returned: always
              sample: 0
        certificates:
          description:
            - The certificates in the files that chronyd's configuration names, 100 at most. Those of the system's trust
              store are not among them. chronyd reads its own certificate at its start, so that it may still serve an
              older one.
            - Null unless O(certificates) asks for them, and where not all of the files can be read.
          type: list
          returned: always
          elements: dict
          contains:
            use:
              description: V(server) is what the server serves, V(issuer) an authority that it sends its clients with
                it, V(trust) one that this host trusts.
              type: str
              returned: always
              sample: server
            path:
              description: The file.
              type: str
              returned: always
              sample: /etc/chrony/nts/server.pem
            subject:
              description: Whom it is for.
              type: str
              returned: always
              sample: CN=nts1.example.org
            subject_alt_names:
              description: The names and addresses that it is for.
              type: list
              elements: str
              returned: always
              sample: ["DNS:nts1.example.org"]
            issuer:
              description: Who signed it.
              type: str
              returned: always
              sample: CN=NTS issuing CA of nts1.example.org
            serial:
              description: Its serial number, in hexadecimal.
              type: str
              returned: always
              sample: 4F2A
            not_before:
              description: From when on it is valid, in UTC.
              type: str
              returned: always
              sample: '2026-11-23T11:42:18Z'
            not_after:
              description: Until when it is valid, in UTC.
              type: str
              returned: always
              sample: '2027-02-21T11:42:18Z'
            fingerprint_sha256:
              description: Its fingerprint, in hexadecimal.
              type: str
              returned: always
              sample: 0b1f2c...
            key_type:
              description: The type of its key.
              type: str
              returned: always
              sample: ECDSA P-256
        clients:
          description: The clients that the server remembers. Null unless O(reports) asks for it and it could be read.
          type: list
          returned: always
          elements: dict
          contains:
            address:
              description: Address of the client.
              type: str
              returned: always
              sample: 192.0.2.7
            ntp_requests:
              description: NTP requests received from it.
              type: int
              returned: always
              sample: 11
            ntp_dropped:
              description: NTP requests dropped by the rate limit.
              type: int
              returned: always
              sample: 0
            ntp_interval_log2_seconds:
              description: Average interval of its NTP requests, as logarithm to the base 2. Null if there is none.
              type: int
              returned: always
              sample: 6
            ntp_limited_interval_log2_seconds:
              description: The same while its requests are limited. Null if there is none.
              type: int
              returned: always
              sample: 6
            ntp_last_seconds:
              description: Time since its last NTP request. Null if there was none.
              type: int
              returned: always
              sample: 41
            command_requests:
              description: Requests received from its chronyc.
              type: int
              returned: always
              sample: 0
            command_dropped:
              description: Requests of its chronyc dropped by the rate limit.
              type: int
              returned: always
              sample: 0
            command_interval_log2_seconds:
              description: As for NTP.
              type: int
              returned: always
              sample: 3
            command_last_seconds:
              description: As for NTP.
              type: int
              returned: always
              sample: 5
            nts_ke_connections:
              description: NTS-KE connections received from it.
              type: int
              returned: always
              sample: 1
            nts_ke_dropped:
              description: NTS-KE connections dropped by the rate limit.
              type: int
              returned: always
              sample: 0
            nts_ke_interval_log2_seconds:
              description: As for NTP.
              type: int
              returned: always
              sample: 17
            nts_ke_last_seconds:
              description: As for NTP.
              type: int
              returned: always
              sample: 8071
        manual:
          description: The times set by hand (directive C(manual)). Null unless O(reports) asks for it.
          type: list
          returned: always
          elements: dict
          contains:
            index:
              description: Number of the entry, for C(chronyc manual delete).
              type: int
              returned: always
              sample: 0
            time:
              description: When it was set, in UTC.
              type: str
              returned: always
              sample: '2026-11-23 11:37:17'
            slewed_offset_seconds:
              description: Offset of the clock then, with the corrections since.
              type: float
              returned: always
              sample: 0.02
            original_offset_seconds:
              description: Offset of the clock then.
              type: float
              returned: always
              sample: 0.89
            residual_seconds:
              description: What the regression leaves of it.
              type: float
              returned: always
              sample: 0.0
        rtcdata:
          description:
            - The real-time clock (directive C(rtcfile)). Null unless O(reports) asks for it and it could be read.
          type: dict
          returned: always
          contains:
            reference_time:
              description: When it was measured last, in seconds since 1970.
              type: float
              returned: always
              sample: 1795420100.0
            samples:
              description: Measurements kept.
              type: int
              returned: always
              sample: 15
            residual_runs:
              description: Runs of residuals with the same sign.
              type: int
              returned: always
              sample: 8
            span_seconds:
              description: Time between the oldest and the newest measurement.
              type: int
              returned: always
              sample: 560
            offset_seconds:
              description: How much the real-time clock is ahead of the system clock.
              type: float
              returned: always
              sample: 0.31
            frequency_ppm:
              description: How much too fast it runs.
              type: float
              returned: always
              sample: -1.2
        smoothing:
          description:
            - The smoothing of the time that is served (directive C(smoothtime)). Null unless O(reports) asks for it and
              it could be read.
          type: dict
          returned: always
          contains:
            active:
              description: Whether it is active.
              type: bool
              returned: always
              sample: true
            leap_only:
              description: Whether it smooths leap seconds only.
              type: bool
              returned: always
              sample: false
            offset_seconds:
              description: How much the served time is ahead of this host's clock.
              type: float
              returned: always
              sample: 0.0
            frequency_ppm:
              description: How much faster the served time runs.
              type: float
              returned: always
              sample: 0.0
            wander_ppm_per_second:
              description: How this changes.
              type: float
              returned: always
              sample: 0.0
            last_update_seconds:
              description: Time since the last update.
              type: float
              returned: always
              sample: 3.0
            remaining_seconds:
              description: Time until the served time is that of this host.
              type: float
              returned: always
              sample: 0.0
        waitsync:
          description:
            - What C(chronyc waitsync) goes by, at one try. Null unless O(reports) asks for it. To wait, use
              O(wait_for).
          type: dict
          returned: always
          contains:
            try:
              description: Number of the try.
              type: int
              returned: always
              sample: 1
            reference_id:
              description: As in C(tracking).
              type: str
              returned: always
              sample: C0000201
            correction_seconds:
              description: Size of the correction that the clock still needs.
              type: float
              returned: always
              sample: 0.000003
            skew_ppm:
              description: As in C(tracking).
              type: float
              returned: always
              sample: 0.03
        sources:
          description:
            - The sources in chronyd's order. Places that a pool holds free for more addresses are left out.
            - Null if chronyd did not answer.
          type: list
          returned: always
          elements: dict
          contains:
            name:
              description: The name as configured, or that of the reference clock.
              type: str
              returned: always
              sample: nts1.example.org
            address:
              description: Address that chronyd asks. Null for a reference clock, and for a name that has none (yet).
              type: str
              returned: always
              sample: 192.0.2.1
            mode:
              description: V(server), V(peer) or V(refclock).
              type: str
              returned: always
              sample: server
            declared_in:
              description:
                - The file that names the source. Null for a reference clock, where no file does, and where
                  RV(ansible_facts.chrony.nts.undeclared_sources) is null.
              type: str
              returned: always
              sample: /etc/chrony/nts-sources.d/nts.sources
            state:
              description:
                - V(selected) or V(combined) if the clock follows it, V(not_combined) if it could, V(falseticker) if
                  it disagrees with the majority, V(variable) if it varies too much, V(unusable) for all other
                  reasons, which are in C(selection.state).
              type: str
              returned: always
              sample: selected
            nts:
              description: The verdict on this source.
              type: dict
              returned: always
              contains:
                state:
                  description:
                    - V(authenticated) - it has keys and cookies, its last valid answer was authenticated, and it gave
                      one in its last eight polls.
                    - V(pending) - that is not so (yet), and no failure is proven.
                    - V(failed) - its key exchange failed, or it stopped to answer.
                    - V(unauthenticated) - it is configured without NTS.
                    - V(unknown) - the report on authentication could not be read.
                  type: str
                  returned: always
                  sample: authenticated
                reasons:
                  description: Why, in sentences. Empty if it is authenticated.
                  type: list
                  returned: always
                  elements: str
                  sample: []
            reach:
              description: The last eight polls as bits, the last one being the lowest. 255 is all answered.
              type: int
              returned: always
              sample: 255
            reachable:
              description: Whether any of the last eight polls got a usable answer.
              type: bool
              returned: always
              sample: true
            stratum:
              description: Stratum of the source. 0 if it has not answered.
              type: int
              returned: always
              sample: 2
            poll_log2_seconds:
              description: Polling interval as a power of two.
              type: int
              returned: always
              sample: 6
            last_rx_seconds:
              description: Seconds since the last good answer. Null if there was none.
              type: int
              returned: always
              sample: 12
            offset_seconds:
              description: Offset at the last measurement, with what the clock was corrected by since.
              type: float
              returned: always
              sample: 0.000012
            measured_offset_seconds:
              description: Offset as measured.
              type: float
              returned: always
              sample: 0.000013
            error_seconds:
              description: Error bound of the measurement.
              type: float
              returned: always
              sample: 0.011
            auth:
              description: The report authdata. Null for a reference clock, and if it could not be read.
              type: dict
              returned: always
              contains:
                mode:
                  description: V(nts), V(symmetric_key), V(none) or V(unknown).
                  type: str
                  returned: always
                  sample: nts
                key_id:
                  description: Number of successful key exchanges with NTS, number of the key with a symmetric key.
                  type: int
                  returned: always
                  sample: 1
                key_type:
                  description: Number of the algorithm.
                  type: int
                  returned: always
                  sample: 30
                aead:
                  description:
                    - Number of the AEAD algorithm with NTS, 15 (AES-SIV-CMAC-256) or 30 (AES-128-GCM-SIV). Null
                      without keys.
                  type: int
                  returned: always
                  sample: 30
                key_length_bits:
                  description: Length of the key. 0 without one.
                  type: int
                  returned: always
                  sample: 128
                last_ke_seconds:
                  description: Seconds since the last successful key exchange. Null if there was none.
                  type: int
                  returned: always
                  sample: 512
                ke_attempts:
                  description: Key exchanges begun since the last authenticated answer.
                  type: int
                  returned: always
                  sample: 0
                nak:
                  description: Whether the last request was answered with an NTS NAK.
                  type: bool
                  returned: always
                  sample: false
                cookies:
                  description: Cookies left, 8 at most.
                  type: int
                  returned: always
                  sample: 8
                cookie_length_bytes:
                  description: Length of the next cookie.
                  type: int
                  returned: always
                  sample: 64
            ntpdata:
              description:
                - The report ntpdata on the last valid packet. Null for a source without address, if it could not be
                  read, and before chrony 4.3 until there is such a packet.
              type: dict
              returned: always
              contains:
                authenticated:
                  description: Whether that packet was authenticated.
                  type: bool
                  returned: always
                  sample: true
                interleaved:
                  description: Whether it came in interleaved mode.
                  type: bool
                  returned: always
                  sample: false
                remote_port:
                  description: UDP port of the server.
                  type: int
                  returned: always
                  sample: 123
                local_address:
                  description: Address of this host that it came to.
                  type: str
                  returned: always
                  sample: 192.0.2.77
                leap_status:
                  description: As in C(tracking.leap_status), of the server.
                  type: str
                  returned: always
                  sample: normal
                version:
                  description: Version of NTP.
                  type: int
                  returned: always
                  sample: 4
                mode:
                  description: Mode of the packet.
                  type: str
                  returned: always
                  sample: server
                stratum:
                  description: Stratum of the server.
                  type: int
                  returned: always
                  sample: 2
                poll_log2_seconds:
                  description: Polling interval as a power of two.
                  type: int
                  returned: always
                  sample: 6
                precision_log2_seconds:
                  description: Precision of the server's clock as a power of two.
                  type: int
                  returned: always
                  sample: -25
                root_delay_seconds:
                  description: Root delay of the server.
                  type: float
                  returned: always
                  sample: 0.0002
                root_dispersion_seconds:
                  description: Root dispersion of the server.
                  type: float
                  returned: always
                  sample: 0.0001
                reference_id:
                  description: Reference ID of the server, in hexadecimal.
                  type: str
                  returned: always
                  sample: '50505300'
                reference_name:
                  description: The same as text, for a server with a reference clock.
                  type: str
                  returned: always
                  sample: PPS
                reference_time:
                  description: When the server's clock was last updated, in seconds since 1970.
                  type: float
                  returned: always
                  sample: 1795420100.52
                offset_seconds:
                  description: Offset that the packet shows.
                  type: float
                  returned: always
                  sample: 0.000013
                peer_delay_seconds:
                  description: Network delay to the server.
                  type: float
                  returned: always
                  sample: 0.012
                peer_dispersion_seconds:
                  description: Dispersion of the measurement.
                  type: float
                  returned: always
                  sample: 0.0000001
                response_time_seconds:
                  description: How long the server took.
                  type: float
                  returned: always
                  sample: 0.00008
                jitter_asymmetry:
                  description: Estimated asymmetry of the jitter, from -0.5 to 0.5.
                  type: float
                  returned: always
                  sample: 0.0
                tests_1_to_3:
                  description: Results of the tests 1 to 3, a digit each.
                  type: str
                  returned: always
                  sample: '111'
                tests_5_to_7:
                  description:
                    - Results of the tests 5 (authentication), 6 (the server is synchronised) and 7 (its root
                      distance).
                  type: str
                  returned: always
                  sample: '111'
                tests_a_to_d:
                  description: Results of the tests A to D (delay, delay ratio, deviation, loop).
                  type: str
                  returned: always
                  sample: '1111'
                tx_timestamping:
                  description: V(daemon), V(kernel), V(hardware) or V(invalid).
                  type: str
                  returned: always
                  sample: kernel
                rx_timestamping:
                  description: As C(tx_timestamping).
                  type: str
                  returned: always
                  sample: kernel
                total_tx:
                  description: Packets sent.
                  type: int
                  returned: always
                  sample: 11
                total_rx:
                  description: Packets received.
                  type: int
                  returned: always
                  sample: 11
                total_valid_rx:
                  description: Valid packets received.
                  type: int
                  returned: always
                  sample: 11
                total_good_rx:
                  description:
                    - Packets that passed all tests. Null before chrony 4.3. The counters of timestamps below are null
                      before 4.6.
                  type: int
                  returned: always
                  sample: 11
                total_kernel_tx:
                  description: Packets sent with a timestamp of the kernel.
                  type: int
                  returned: always
                  sample: 11
                total_kernel_rx:
                  description: Packets received with a timestamp of the kernel.
                  type: int
                  returned: always
                  sample: 11
                total_hardware_tx:
                  description: Packets sent with a timestamp of the hardware.
                  type: int
                  returned: always
                  sample: 0
                total_hardware_rx:
                  description: Packets received with a timestamp of the hardware.
                  type: int
                  returned: always
                  sample: 0
            selection:
              description: The report selectdata. Null if it could not be read.
              type: dict
              returned: always
              contains:
                state:
                  description:
                    - The state in the selection of sources, in a word. V(selected), V(combined), or why not, as in
                      V(missing_samples), V(unsynchronised), V(large_distance), V(jittery), V(waits_for_samples),
                      V(stale), V(orphan), V(not_trusted), V(falseticker), V(waits_for_sources), V(not_preferred),
                      V(waits_for_update), V(distant), V(large_interval), V(noselect), V(stratum_out_of_range),
                      V(unknown).
                  type: str
                  returned: always
                  sample: selected
                state_char:
                  description: The same as chronyc prints it.
                  type: str
                  returned: always
                  sample: '*'
                authentication_configured:
                  description: Whether authentication is configured, which says nothing about its success.
                  type: bool
                  returned: always
                  sample: true
                configured_noselect:
                  description: Whether the option noselect is configured.
                  type: bool
                  returned: always
                  sample: false
                configured_prefer:
                  description: Whether the option prefer is configured.
                  type: bool
                  returned: always
                  sample: false
                configured_trust:
                  description: Whether the option trust is configured.
                  type: bool
                  returned: always
                  sample: false
                configured_require:
                  description: Whether the option require is configured.
                  type: bool
                  returned: always
                  sample: false
                effective_noselect:
                  description: Whether it has the option noselect, by configuration or authselectmode.
                  type: bool
                  returned: always
                  sample: false
                effective_prefer:
                  description: Whether it has the option prefer.
                  type: bool
                  returned: always
                  sample: false
                effective_trust:
                  description: Whether it has the option trust, by configuration or authselectmode.
                  type: bool
                  returned: always
                  sample: false
                effective_require:
                  description: Whether it has the option require, by configuration or authselectmode.
                  type: bool
                  returned: always
                  sample: false
                last_sample_seconds:
                  description: Seconds since the last sample at the last selection.
                  type: int
                  returned: always
                  sample: 3
                score:
                  description: Score against the selected source, which has 1.
                  type: float
                  returned: always
                  sample: 1.0
                interval_low_seconds:
                  description: Lower end of the interval that the offset was expected in.
                  type: float
                  returned: always
                  sample: -0.0052
                interval_high_seconds:
                  description: Upper end of it.
                  type: float
                  returned: always
                  sample: 0.0061
                leap_status:
                  description: As in C(tracking.leap_status), of the source.
                  type: str
                  returned: always
                  sample: normal
            stats:
              description: The report sourcestats. Null if it could not be read.
              type: dict
              returned: always
              contains:
                samples:
                  description: Samples kept.
                  type: int
                  returned: always
                  sample: 12
                residual_runs:
                  description: Runs of residuals with the same sign.
                  type: int
                  returned: always
                  sample: 6
                span_seconds:
                  description: Time between the oldest and the newest sample.
                  type: int
                  returned: always
                  sample: 1210
                residual_frequency_ppm:
                  description: How much too fast this host's clock runs against the source.
                  type: float
                  returned: always
                  sample: 0.001
                skew_ppm:
                  description: Error bound of it.
                  type: float
                  returned: always
                  sample: 0.04
                offset_seconds:
                  description: Estimated offset.
                  type: float
                  returned: always
                  sample: 0.000011
                standard_deviation_seconds:
                  description: Standard deviation of the samples.
                  type: float
                  returned: always
                  sample: 0.000031
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import ChronycError
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, gather
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import progress


def main() -> None:
    """Return the facts."""
    module = AnsibleModule(
        argument_spec={
            "wait_for": {"type": "str", "choices": ["authenticated", "synchronised", "reachable"]},
            "min_sources": {"type": "int", "default": 1},
            "max_offset": {"type": "float"},
            "timeout": {"type": "float", "default": 10.0},
            "fail_on_timeout": {"type": "bool", "default": False},
            "command_timeout": {"type": "float", "default": 5.0},
            "log_lines": {"type": "bool", "default": True},
            "reports": {
                "type": "list",
                "elements": "str",
                "choices": ["clients", "manual", "rtcdata", "smoothing", "waitsync"],
                "default": [],
            },
            "packages": {"type": "list", "elements": "str", "default": []},
            "certificates": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = GatherOptions(**{name: module.params[name] for name in GatherOptions._fields})
    for wrong, message in (
        (wanted.min_sources < 1, "min_sources must be 1 or more."),
        (wanted.max_offset is not None and wanted.max_offset <= 0, "max_offset must be more than 0 seconds."),
        (
            wanted.max_offset is not None and wanted.wait_for not in ("authenticated", "synchronised"),
            "max_offset needs wait_for: authenticated or synchronised.",
        ),
        (wanted.timeout < 0, "timeout must not be negative."),
        (wanted.command_timeout <= 0, "command_timeout must be more than 0 seconds."),
    ):
        if wrong:
            module.fail_json(msg=message)
    try:
        seen = gather(wanted)
    except ChronycError as error:
        module.fail_json(msg=str(error))
    for warning in seen.warnings:
        module.warn(warning)
    told = progress(seen.facts)
    result = {
        "changed": False,
        "ansible_facts": {"chrony": seen.facts},
        "reached": seen.reached,
        "waited_seconds": seen.waited_seconds,
        "progress": told,
    }
    if seen.reached is False and module.params["fail_on_timeout"]:
        reasons = " ".join(seen.facts["nts"]["reasons"])
        module.fail_json(
            msg=f"Not {wanted.wait_for} after {seen.waited_seconds:g} s ({'; '.join(told) or 'no sources'}). {reasons}",
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
