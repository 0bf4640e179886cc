# make demo    environment, six virtual scans on three scanners, harmonized, with pages to look at
# make test    environment, every test
# make fuzz    10,000 mutated images and 10,000 mutated gradients and sidecars against the input gate
# make reproduce  one study at 1, 2 and 4 processes, in another folder, time zone, locale ... : one hash
# make faults  kills, signals, full disks, array jobs and tampering, done to the real command
# make lint, make docs, make env, make clean
#
# PYTHON       the interpreter to build on (3.11 or later)
# VENV         where the environment goes
# TORCH        the version of torch; the latest if empty
# CONSTRAINTS  a file of versions for pip, such as .ci/floor prints
# TORCH_INDEX  an index to take torch from, such as https://download.pytorch.org/whl/cpu
# JOBS         how many tests run at once
# FUZZ         how many inputs of each kind are mutated
# FAULTS       share of the tries of each fault: all of them take hours
# FAULTS_ARGS  such as --only kill=30 disk, or --seed 1; other rows of the table stay

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
TORCH ?= 2.13.0
TORCH_INDEX ?=
CONSTRAINTS ?=
JOBS ?= 2
FUZZ ?= 10000
FAULTS ?= 1
FAULTS_ARGS ?=
PYTEST_ARGS ?=

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
READY = $(VENV)/.ready

# One thread per process: the tests and the participants are what runs in parallel.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
# No library calls home.
export NO_ET = 1
export NIPYPE_NO_ET = 1

.DEFAULT_GOAL := help
.PHONY: help env demo test fuzz reproduce faults lint docs clean

help:
	@sed -n '/^$$/q;s/^# \{0,1\}//p' Makefile

env: $(READY)

# torch goes first and by name: a range may resolve to a build for graphics cards of several GB.
$(READY): setup.cfg pyproject.toml
	@test -n '$(PYTHON)' || { echo 'No python3.11 or python3 on the PATH. Install Python 3.11 or name it: make PYTHON=...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo '$(PYTHON): older than Python 3.11. Name a later one: make PYTHON=...' >&2; exit 1; }
	'$(PYTHON)' -m venv '$(VENV)'
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)') 'torch$(if $(TORCH),==$(TORCH))'
	$(PIP) install --quiet $(if $(CONSTRAINTS),--constraint '$(CONSTRAINTS)') --editable '.[test]'
	@touch '$(READY)'

demo: env
	rm -rf demo/bids demo/out
	$(BIN)/bidsharmony-phantom demo/bids --heads 2 --scanners 3
	$(BIN)/bidsharmony demo/bids demo/out participant group --nprocs 2
	@echo
	@echo 'Simulated heads, harmonized. Open these in a browser:'
	@for page in '$(CURDIR)'/demo/out/*.html; do echo "  $$page"; done

test: env
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

fuzz: env
	$(BIN)/python -m tests.corpus --fuzz $(FUZZ) --table docs/_static/fuzz.csv

reproduce: env
	$(BIN)/python -m tests.reproduce --table docs/_static/reproduce.csv

faults: env
	$(BIN)/python -m tests.faults --share $(FAULTS) --table docs/_static/faults.csv $(FAULTS_ARGS)

lint: env
	$(PIP) install --quiet --editable '.[lint]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run containers/*.sh docs/scripts/*.sh

docs: env
	$(PIP) install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo 'Documentation: $(CURDIR)/docs/_build/html/index.html'

clean:
	rm -rf demo docs/_build build dist .pytest_cache .ruff_cache .coverage *.egg-info
	rm -rf '$(VENV)'
