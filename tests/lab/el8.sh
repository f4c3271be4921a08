#!/usr/bin/env bash
# Give a running container of el-standin the Pythons of Enterprise Linux 8: el8.sh CONTAINER PLATFORM_PYTHON [NEWER_PYTHON]
#
# PLATFORM_PYTHON is the folder of a Python 3.6 with cryptography and without the bindings of dnf, as pyenv builds it.
# It becomes /usr/libexec/platform-python. Only dnf keeps Debian's Python with the bindings, under a name that Ansible
# does not find. NEWER_PYTHON becomes AppStream's /usr/bin/python3.N, with neither cryptography nor the bindings.
set -euo pipefail
container=$1
platform=$2
newer=${3-}

put() { # FOLDER NAME: copy the parts of a Python that a program needs
  podman exec "$container" mkdir -p "/opt/$2"
  tar --directory "$1" --create --exclude=__pycache__ --exclude='lib/*.a' --exclude=test --exclude='*/site-packages/pip*' \
    bin lib | podman exec --interactive "$container" tar --directory "/opt/$2" --extract --no-same-owner
}

put "$platform" platform-python
if [[ -n $newer ]]; then put "$newer" appstream-python; fi
podman exec --interactive "$container" sh -eu <<'END'
sed -i 's/^VERSION_ID=.*/VERSION_ID="8.10"/; s/^VERSION=.*/VERSION="8.10 (el-standin)"/; s/el9/el8/' /etc/os-release
printf '%s\n' /opt/platform-python/lib /opt/appstream-python/lib >/etc/ld.so.conf.d/pythons.conf
ldconfig
mkdir -p /usr/libexec/dnf-python
if [ -e /usr/bin/python3.13 ]; then
    mv /usr/bin/python3.13 /usr/libexec/dnf-python/python
    rm /usr/bin/python3
fi
# The distribution's own programs keep Debian's Python.
grep -lsI '^#! */usr/bin/python3' /usr/bin/* /usr/sbin/* | xargs -r sed -i '1s|^#!.*|#!/usr/libexec/dnf-python/python|'
ln -sf /opt/platform-python/bin/python3.6 /usr/libexec/platform-python
ln -sf /opt/platform-python/bin/python3.6 /usr/bin/python3.6
for path in /opt/appstream-python/bin/python3.*[0-9]; do
    if [ -x "$path" ]; then ln -sf "$path" "/usr/bin/${path##*/}"; fi
done
END
