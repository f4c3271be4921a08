#!/usr/bin/env bash
# Link this checkout into .build/collections, where Ansible and the tests find it as a collection.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=.build/collections/ansible_collections/securetime
mkdir -p "$folder"
# -f, because two stages may do this at the same time.
[[ -e $folder/nts ]] || ln -sfn ../../../.. "$folder/nts"
