#!/bin/sh
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs inside a new container: sh -s PUBLIC_KEY [BYTECODE] <prepare.sh
# Waits for systemd, installs missing SSH and Python, authorises the key, and prints the host's public key. BYTECODE is
# the text of bytecode.py, for hosts whose Pythons import it.
set -eu

prepare() {
    tries=0
    until state=$(systemctl is-system-running 2>/dev/null) || [ "$state" = degraded ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 3000 ] || fail "systemd is still '$state' after five minutes"
        sleep 0.1
    done

    bounding=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/1/status)
    cap_sys_time=25 # its bit in linux/capability.h
    [ $((0x$bounding >> cap_sys_time & 1)) = 0 ] || fail "CAP_SYS_TIME reached the container: it could set the clock"

    if ! command -v sshd || ! command -v python3; then
        install_packages openssh-server python3
    fi >&2 </dev/null
    # Services of these timers would lock the packages, rotate logs or repair a pair during a test. The random delay of
    # the renewal's timer also applies to its start after the boot.
    systemctl -q mask --now apt-daily.timer apt-daily-upgrade.timer dnf-makecache.timer logrotate.timer
    systemctl reset-failed
    mkdir -p /etc/systemd/system/nts-certificate.timer.d
    printf '[Timer]\nOnCalendar=\nOnCalendar=2099-01-01\n' >/etc/systemd/system/nts-certificate.timer.d/lab.conf
    # A container may not change the audit identity of the login session that started podman, and need not.
    sed -i 's/^session *required *pam_loginuid.so/session optional pam_loginuid.so/' /etc/pam.d/sshd
    systemctl -q is-active ssh || systemctl -q is-active sshd || systemctl enable --now ssh ||
        systemctl enable --now sshd

    if [ -n "${2-}" ]; then
        folder=$(python3 -c 'import site; print(site.getsitepackages()[0])')
        mkdir -p "$folder" /usr/local/lib/securetime-nts-bytecode
        printf '%s' "$2" >"$folder/securetime_nts_bytecode.py"
        echo 'import securetime_nts_bytecode' >"$folder/securetime_nts_bytecode.pth"
    fi
    mkdir -p /root/.ssh
    echo "$1" >/root/.ssh/authorized_keys
    chmod -R go= /root/.ssh
    cat /etc/ssh/ssh_host_ed25519_key.pub
}

install_packages() {
    if command -v apt-get; then
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
    else
        dnf install -y "$@"
    fi
}

fail() {
    echo "$*" >&2
    exit 1
}

prepare "$@"
