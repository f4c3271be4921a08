SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BUILD := $(CURDIR)/.build
export PYTHON
export ANSIBLE_COLLECTIONS_PATH := $(BUILD)/collections
# All checkouts with the same folder name share Molecule's default.
export MOLECULE_EPHEMERAL_DIRECTORY := $(BUILD)/molecule
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# With PYTHONDONTWRITEBYTECODE, each start of Ansible compiles every module that it imports.
unexport PYTHONPATH PYTHONDONTWRITEBYTECODE

STAGES := $(PYTHON) tests/stages/run.py

.PHONY: help setup check test test-full stage demo demo-stop format unit molecule images build bench bench-ke \
  bench-limits docs fuzz changelog directives metrics monitoring platforms requirements clean

help: ## list the targets
	@sed -nE 's/^([a-z -]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 30

setup: ## install what the checks need: operating-system packages, .venv, .build/collections
	@tests/stages/setup.sh

check: ## the inner loop: format, lint, types, documentation, unit and consistency tests
	@$(STAGES) check

test: ## all checks of CI: check, sanity, importer, functional tests, molecule on containers
	@$(STAGES) test

test-full: ## test, and VMs, power cuts, bad networks, every Python; RESUME=1 skips the stages that passed
	@$(STAGES) test-full $(if $(RESUME),--resume)

stage: ## one or several stages: make stage NAME="functional sanity"
	@$(STAGES) stage $(NAME)

demo: ## start test hosts, run site.yml on them, show which source each follows, write a report; V=1: all output
	@$(STAGES) stage images
	python tests/lab/demo.py $(if $(V),--verbose)

demo-stop: ## remove the hosts of the demo
	@$(PYTHON) tests/lab/lab.py down --state .lab/demo
	rm -rf .lab/demo

format: setup ## format the Python code
	@ruff check --fix-only --quiet
	ruff format

unit: setup ## unit tests and consistency tests
	@pytest -q --numprocesses auto

molecule: setup ## one scenario, from nothing: make molecule SCENARIO=default
	@tests/stages/molecule.sh $(or $(SCENARIO),default)

images: setup ## build the images of containers and VMs that do not exist yet
	@python tests/lab/lab.py build all

docs: setup ## the documentation site, below .build/docs/html
	@python docs/site/build.py

build: setup ## the tarball for Galaxy, below .build/
	@ansible-galaxy collection build --force --output-path $(BUILD) "$$(tests/stages/copy.sh build)"

bench: setup ## the cost of the role, of chronyc_facts and of the monitor, on the hosts of the demo; how fast a report opens
	@LAB_STATE=$(CURDIR)/.lab/demo ANSIBLE_INVENTORY=$(CURDIR)/extensions/molecule/inventory,$(CURDIR)/.lab/demo/inventory.yml \
	  ANSIBLE_PIPELINING=true tests/bench/bench.sh $(OPTIONS)

bench-limits: setup ## honest clients beside a flood of key exchanges, and memory for many clients, on loopback
	@PYTHONPATH=$(BUILD)/collections python tests/bench/server_limits.py $(OPTIONS)

bench-ke: setup ## the cost of a key exchange by the certificate's key type, on loopback; OPTIONS=--all: more key types
	@PYTHONPATH=$(BUILD)/collections python tests/bench/ke_speed.py $(OPTIONS)

fuzz: setup ## RUNS (100000) inputs for the readers of servers' answers; a crash or a hang is kept in .build/fuzz
	@tests/fuzz/fuzz.sh $(or $(RUNS),100000)

changelog: setup ## write CHANGELOG.md from changelogs/fragments
	@antsibull-changelog release --update-existing --refresh --reload-plugins
	# Users cannot call the private filters, so the changelog omits the plugins.
	sed -i '/^    plugins:$$/,/^    release_date/{/release_date/!d}' changelogs/changelog.yaml
	antsibull-changelog generate

directives metrics platforms: ## write docs/directives.md, docs/platforms.md, or the metrics in docs/monitoring.md
	@PYTHONPATH=$(BUILD)/collections $(PYTHON) docs/$@.py

monitoring: ## write the rules, the dashboards and the tables of docs/alerts.md from monitoring/*.py
	@$(PYTHON) monitoring/alerts.py --write
	$(PYTHON) monitoring/dashboards.py

requirements: ## resolve requirements-dev.in into requirements-dev.txt
	@tests/stages/requirements.sh

clean: ## remove what the targets made, hosts included
	@shopt -s nullglob
	for state in .lab/*/; do $(PYTHON) tests/lab/lab.py down --state $$state; done
	rm -rf .venv .build .lab .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache
