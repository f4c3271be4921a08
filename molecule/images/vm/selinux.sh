# Runs while the image is made: the reference policy, from which that of Enterprise Linux derives, enforcing.
apt-get install -qy --no-install-recommends policycoreutils policycoreutils-python-utils selinux-basics \
    selinux-policy-default selinux-utils
sed -i 's/^SELINUX=.*/SELINUX=enforcing/' /etc/selinux/config
echo 'selinux=1 security=selinux' >/boot/cmdline
