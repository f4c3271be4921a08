SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
RUNS ?= 100000
# Those that are joined run at once: each is busy with one processor.
STAGES ?= unit pythons lint+sanity+importer+images integration molecule

VENV := $(CURDIR)/.venv
BUILD := $(CURDIR)/.build
# Those of Enterprise Linux 8 to 10, of Debian 11 and Ubuntu 24.04, and the newest. 3.11 is `make unit`.
PYTHONS := 3.6 3.9 3.12 3.14
# The working tree as Ansible finds collections (a symlink), and a copy of it for the tools that refuse a symlink.
TREE := $(BUILD)/collections
COPY := $(BUILD)/copy/ansible_collections/securetime/nts
CRYPTO := $(TREE)/ansible_collections/community/crypto/MANIFEST.json
LINK := $(TREE)/ansible_collections/securetime/nts
# Galaxy cannot be reached from every network; this release of PyPI's `ansible` package carries community.crypto 3.0.5.
ANSIBLE_PACKAGE := ansible==12.3.0

export ANSIBLE_COLLECTIONS_PATH := $(TREE)
# Molecule's own place for this is shared by all checkouts that have the same folder name.
export MOLECULE_EPHEMERAL_DIRECTORY := $(BUILD)/molecule
# Where the scenarios are; without it molecule wants them moved to extensions/.
export MOLECULE_GLOB := molecule/*/molecule.yml
export PATH := $(VENV)/bin:$(PATH)
unexport PYTHONPATH

.PHONY: help setup packages demo demo-stop test unit pythons integration lint sanity importer molecule machines copy images build bench bench-ke fuzz changelog requirements clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: packages $(CRYPTO) $(LINK) ## install what the checks need: Debian packages, .venv, .build/collections

packages:
	@if ! $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
	  echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.N ..." >&2
	  exit 1
	fi
	missing=
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing+=" python3-venv"
	if command -v dpkg-query >/dev/null; then
	  for package in shellcheck $$($(PYTHON) molecule/images/lab.py packages); do
	    [[ $$(dpkg-query -Wf '$${Status}' $$package 2>/dev/null) == *' installed' ]] || missing+=" $$package"
	  done
	fi
	[[ -n $$missing ]] || exit 0
	if [[ $$EUID != 0 ]] || ! command -v apt-get >/dev/null; then
	  echo "Missing packages, to be installed as root:$$missing" >&2
	  exit 1
	fi
	echo "Installing$$missing"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $$missing >/dev/null

$(VENV)/ready: requirements-dev.txt | packages
	@$(PYTHON) -m venv --clear $(VENV)
	pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

$(CRYPTO): $(VENV)/ready
	@mkdir -p $(BUILD)/wheel
	pip download --quiet --disable-pip-version-check --no-deps --dest $(BUILD)/wheel $(ANSIBLE_PACKAGE)
	python - $(BUILD)/wheel/ansible-*.whl <<-END
	import sys, zipfile
	wheel = zipfile.ZipFile(sys.argv[1])
	wanted = [name for name in wheel.namelist() if name.startswith("ansible_collections/community/crypto/")]
	wheel.extractall("$(TREE)", wanted)
	END
	rm -r $(BUILD)/wheel
	touch $@

$(LINK):
	@mkdir -p $(@D)
	ln -s ../../../.. $@

demo: export LAB_STATE := $(CURDIR)/.lab/demo
demo: export ANSIBLE_INVENTORY := $(CURDIR)/molecule/inventory,$(CURDIR)/.lab/demo/inventory.yml
demo: export ANSIBLE_PIPELINING := true
demo: export ANSIBLE_PYTHON_INTERPRETER := auto_silent
demo: export ANSIBLE_DISPLAY_SKIPPED_HOSTS := false
demo: setup ## start test hosts, run site.yml on them, show who follows what; the hosts stay
	@python molecule/images/lab.py build
	ansible-playbook --inventory molecule/inventory molecule/default/create.yml
	ansible-playbook securetime.nts.site
	python molecule/images/lab.py status --state $(LAB_STATE)
	echo "Log in: podman exec -it CONTAINER bash. Remove the hosts: make demo-stop"

demo-stop: ## remove the hosts of the demo
	@$(PYTHON) molecule/images/lab.py down --state .lab/demo
	rm -rf .lab/demo

test: ## run every check
	@run() {
	  local start=$$SECONDS status=0 together=
	  [[ $$1 != *+* ]] || together='--jobs --output-sync=target --keep-going'
	  echo "== $$1 =="
	  $(MAKE) $$together $${1//+/ } || status=$$?
	  echo "== $$1: $$((SECONDS - start)) s =="
	  return $$status
	}
	run setup
	passed=0 failed=
	for stage in $(STAGES); do
	  if run $$stage; then passed=$$((passed + 1)); else failed+=" $$stage"; fi
	done
	echo "== total: $$SECONDS s$${failed:+; failed:$$failed} =="
	echo "$$passed passed, $$(wc -w <<<"$$failed") failed"
	[[ -z $$failed ]]

unit: setup ## unit tests, and what must be equal in two places
	@pytest -q

pythons: $(LINK) ## unit tests on every Python of managed hosts that this machine has, without Ansible
	@printf '%s\n' $(PYTHONS) | xargs -P "$$(nproc)" -n 1 $(SHELL) tests/unit_on_python.sh

integration: setup ## Ansible without hosts, and real daemons of several makes and versions on loopback
	@pytest -q --numprocesses 4 --dist loadfile tests/integration tests/interop

lint: setup ## ansible-lint, yamllint, ruff, mypy, vermin, antsibull-docs, antsibull-changelog
	@failed=
	check() { echo "-- $$*"; "$$@" || failed+=" $$1"; }
	check ruff check
	check ruff format --check
	check mypy
	MYPYPATH=molecule/images check mypy molecule/images/lab.py
	check vermin --quiet --no-tips --violations --target=3.6- plugins/modules plugins/module_utils
	check shellcheck $$(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
	check yamllint --strict .
	check antsibull-changelog lint
	check antsibull-docs lint-collection-docs --plugin-docs .
	check ansible-lint --nocolor -f pep8
	[[ -z $$failed ]] || { echo "Failed:$$failed" >&2; exit 1; }

sanity: setup copy ## ansible-test sanity, with no ignore file
	@# ansible-test would download this script from a host of its own; Python's ensurepip does the same without a network.
	sources=$$(echo $(VENV)/lib/python3*/site-packages/ansible_test/_internal)
	version=$$(sed -nE "s/^ +pip='([0-9.]+)',$$/\1/p" $$sources/python_requirements.py)
	script=~/.ansible/test/cache/get_pip_$${version//./_}.py
	mkdir -p $${script%/*}
	[[ -e $$script ]] || echo 'import ensurepip; ensurepip.bootstrap(default_pip=True)' >$$script
	# ansible-test tries every python3.N in PATH; pyenv's shims answer only for the versions that are chosen.
	! command -v pyenv >/dev/null || PATH=$(VENV)/bin:$$(printf '%s:' "$$(pyenv root)"/versions/3*/bin)$$PATH
	cd $(COPY)
	ansible-test sanity --color no

copy:
	@rm -rf $(COPY)
	mkdir -p $(COPY)
	git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - | tar -x -C $(COPY)
	# ansible-test asks the nearest repository which files there are.
	cd $(COPY)
	git init --quiet
	git add --all

build: setup copy ## the tarball for Galaxy, below .build/
	@ansible-galaxy collection build --force --output-path $(BUILD) $(COPY)

importer: setup copy ## galaxy-importer, as Galaxy and Automation Hub run it
	@rm -rf $(BUILD)/importer
	mkdir $(BUILD)/importer
	cd $(BUILD)/importer
	python -m galaxy_importer.main --git-clone-path $(COPY) --output-path . 2>&1 | tee log
	# The importer itself only warns.
	! grep --quiet '^WARNING' log

images: setup ## the images of the test hosts, which are made once
	@python molecule/images/lab.py build all

SCENARIO ?= $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))

molecule: setup ## every scenario on real hosts of its own, side by side, or those of SCENARIO="name ..."
	@failed= running=()
	for scenario in $(SCENARIO); do
	  export NTS_LAB=$$scenario MOLECULE_EPHEMERAL_DIRECTORY=$(BUILD)/molecule/$$scenario
	  # From nothing, also after a run that was cut.
	  python molecule/images/lab.py down --state .lab/$$scenario
	  rm -rf .lab/$$scenario $$MOLECULE_EPHEMERAL_DIRECTORY
	  mkdir -p $$MOLECULE_EPHEMERAL_DIRECTORY
	  # Images are made once, by the first.
	  [[ -n $${running[*]} ]] || python molecule/images/lab.py build
	  molecule test --scenario-name $$scenario --no-command-borders &>$(BUILD)/molecule/$$scenario.log &
	  running+=($$!)
	done
	for scenario in $(SCENARIO); do
	  wait $${running[0]} || failed+=" $$scenario"
	  running=("$${running[@]:1}")
	  cat $(BUILD)/molecule/$$scenario.log
	  # Molecule itself only warns when a playbook of the sequence is not there.
	  ! grep --quiet 'Missing playbook' $(BUILD)/molecule/$$scenario.log || failed+=" $$scenario"
	done
	[[ -z $$failed ]] || { echo "Failed:$$failed" >&2; exit 1; }

machines: export NTS_EVERY := 1
machines: ## every case of the scenario `machine`, of which `test` tries a sample; takes nearly two hours
	@$(MAKE) molecule SCENARIO=machine
	cat $(BUILD)/machine-figures.txt

bench: export LAB_STATE := $(CURDIR)/.lab/demo
bench: export ANSIBLE_INVENTORY := $(CURDIR)/molecule/inventory,$(CURDIR)/.lab/demo/inventory.yml
bench: export ANSIBLE_PIPELINING := true
bench: setup ## what a look at chrony costs, on the hosts of the demo
	@python tests/bench/facts_speed.py client-debian12 client-debian13 client-el

bench-ke: setup ## what a key exchange costs chronyd, by its certificate, on loopback; OPTIONS=--all: more types of keys
	@PYTHONPATH=$(TREE) python tests/bench/ke_speed.py $(OPTIONS)

fuzz: setup ## RUNS inputs for what reads the answers of servers; a crash or a hang is kept in .build/fuzz
	@[[ -e $(BUILD)/fuzz/ready ]] || { $(PYTHON) -m venv $(BUILD)/fuzz && $(BUILD)/fuzz/bin/pip install --quiet --disable-pip-version-check atheris; }
	mkdir -p $(BUILD)/fuzz/corpus
	touch $(BUILD)/fuzz/ready
	PYTHONPATH=$(TREE) $(BUILD)/fuzz/bin/python tests/fuzz/fuzz_nts.py -atheris_runs=$(RUNS) -runs=$(RUNS) -max_len=4096 -timeout=5 \
	  -rss_limit_mb=512 -artifact_prefix=$(BUILD)/fuzz/ -print_final_stats=1 $(BUILD)/fuzz/corpus

changelog: setup ## write CHANGELOG.md from changelogs/fragments
	@antsibull-changelog release --update-existing --refresh --reload-plugins

requirements: ## resolve requirements-dev.in into requirements-dev.txt
	@rm -rf $(BUILD)/resolve
	$(PYTHON) -m venv $(BUILD)/resolve
	$(BUILD)/resolve/bin/pip install --quiet --upgrade --upgrade-strategy eager --requirement requirements-dev.in
	{ echo '# Made by `make requirements` from requirements-dev.in: edit that, not this.'
	  $(BUILD)/resolve/bin/pip freeze --all --exclude pip; } > requirements-dev.txt
	rm -r $(BUILD)/resolve

clean: ## remove what the targets made, hosts included
	@shopt -s nullglob
	for state in .lab/*/; do $(PYTHON) molecule/images/lab.py down --state $$state; done
	rm -rf .venv .build .lab .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache
