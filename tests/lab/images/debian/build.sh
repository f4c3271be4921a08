#!/bin/sh
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# build.sh SUITE [-]   writes the root file system of a bare Debian server to standard output, as a tar archive.
# With "-" the lines of its sources.list come from standard input; without it mmdebstrap uses its own default mirror.
set -eu
suite=$1
shift

packages=systemd,systemd-sysv,systemd-timesyncd,dbus,openssh-server,python3,python3-apt
packages=$packages,iproute2,ca-certificates,debian-archive-keyring,procps,netbase,tzdata

# Given as text: a rootless mmdebstrap runs it as a user that may not be able to read this folder.
# shellcheck disable=SC2016
customize='
set -eu
cd "$1"
rm -f etc/ssh/ssh_host_* etc/hostname
: >etc/machine-id
# Else the first boot of every container spends seconds on caches that are in the image already.
touch etc/.updated var/.updated
cat >etc/systemd/system/ssh-host-keys.service <<UNIT
[Unit]
Description=Make the SSH host keys of this machine
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
[Install]
WantedBy=ssh.service
UNIT
chroot . systemctl enable ssh-host-keys.service'

exec mmdebstrap --variant=minbase --include="$packages" --skip=cleanup/apt/lists \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::GzipIndexes "true"' \
    --customize-hook="$customize" "$suite" - "$@"
