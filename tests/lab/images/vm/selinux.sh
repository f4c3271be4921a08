#!/bin/sh
# Runs while the image is made: the reference policy, from which that of Enterprise Linux derives, enforcing.
apt-get install -qy --no-install-recommends policycoreutils policycoreutils-python-utils selinux-basics \
    selinux-policy-default selinux-utils
sed -i 's/^SELINUX=.*/SELINUX=enforcing/' /etc/selinux/config
# This policy lets chronyd connect to a server of NTS-KE and not be one; that of Enterprise Linux does.
cat >/usr/share/selinux/chronyd-nts-server.cil <<'END'
(allow chronyd_t node_t (tcp_socket (node_bind)))
(allow chronyd_t self (tcp_socket (listen accept)))
END
# It also lacks what that of Enterprise Linux has in logrotate.te and chronyd.te: logrotate runs chronyc in the domain of
# chronyc, which inherits the open state file of logrotate.
cat >/usr/share/selinux/logrotate-chronyc.cil <<'END'
(allow logrotate_t chronyc_exec_t (file (getattr open read execute map)))
(allow logrotate_t chronyc_t (process (transition)))
(dontaudit logrotate_t chronyc_t (process (noatsecure siginh rlimitinh)))
(allow chronyc_t logrotate_t (fd (use)))
(allow chronyc_t logrotate_t (fifo_file (getattr read write append ioctl lock)))
(allow chronyc_t logrotate_t (process (sigchld)))
(allow chronyc_t logrotate_var_lib_t (file (read write append)))
(typetransition logrotate_t chronyc_exec_t process chronyc_t)
(roletype system_r chronyc_t)
END
semodule --noreload --install=/usr/share/selinux/chronyd-nts-server.cil --install=/usr/share/selinux/logrotate-chronyc.cil
# Scriptlets would run in a domain of Enterprise Linux's policy, rpm_script_t, which this one lacks.
echo '%__transaction_selinux %{nil}' >/etc/rpm/macros.selinux
echo 'selinux=1 security=selinux' >/boot/cmdline
