# Needs make and Python 3.11 to 3.13; everything else is installed into .venv, at the versions in constraints.txt.
# Another Python: make demo PYTHON=/path/to/python

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-slow test-gpu test-faults test-environments test-verl lint format constraints check-constraints clean train-env dev-env docs-env verl-env

# ensurepip is what a Python needs to make a virtual environment; Debian leaves it out of the plain python3.
SUITABLE := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifdef PYTHON
EXACT := --exact
else
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done)
endif
BAD_PYTHON := $(if $(PYTHON),$(PYTHON) is no,found no) Python 3.11 to 3.13 with venv: name one with PYTHON=/path/to/python
CHECK_PYTHON = @'$(or $(PYTHON),false)' -c '$(SUITABLE)' 2>/dev/null || { echo "make: $(BAD_PYTHON)" >&2; exit 1; }

# One thread a process: two processes that each take all cores spend their time waiting for each other.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false .venv/bin/python -m pytest

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-18s %s\n", $$1, $$2 }'

demo: train-env  ## install, then train the small built-in model for a few minutes on a CPU
	@.venv/bin/zerosearch train demo
	@echo "zerosearch is .venv/bin/zerosearch here; source .venv/bin/activate puts it on your path"

test: dev-env  ## install, then run the fast tests
	@$(PYTEST) -n 2 --dist loadfile

test-slow: dev-env  ## install, then run the tests that take minutes each
	@$(PYTEST) -m slow

test-gpu: dev-env  ## install, then run the tests that need a GPU, on a machine with one
	@$(PYTEST) tests/models/test_devices.py tests/models/test_continuous.py tests/models/test_paged_kernel.py \
	  tests/models/test_phases.py tests/models/test_vllm.py tests/learning/test_recomputing.py \
	  tests/learning/test_ways_of_training.py

test-faults: dev-env  ## install, then break things on purpose for up to an hour, and print what was lost
	@$(PYTEST) tests/faults --faults -n 2 --dist load

test-environments:  ## run the examples for other trainers, each in an environment of its own (minutes, 3 GB)
	$(CHECK_PYTHON)
	@'$(PYTHON)' scripts/environments.py

test-verl: verl-env  ## install verl into .venv-verl, then train with it on this CPU: a quarter of an hour
	@OMP_NUM_THREADS=1 PYTHONPATH=src:tests .venv-verl/bin/python -m pytest -p no:cacheprovider tests/scaleout/verl_run

docs: docs-env  ## install, then build the documentation into site/; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build
	@echo "site/index.html"

lint: dev-env  ## check code, format and types
	@status=0; \
	.venv/bin/ruff check . || status=1; \
	.venv/bin/ruff format --check . || status=1; \
	.venv/bin/mypy || status=1; \
	exit $$status

format: dev-env  ## put the code in its format
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

constraints:  ## write constraints.txt anew (Python 3.11; TORCH=x.y.z changes torch)
	$(CHECK_PYTHON)
	@'$(PYTHON)' scripts/constraints.py $(if $(TORCH),--torch $(TORCH))

check-constraints:  ## see whether constraints.txt suits a Python (PYTHON=python3.13)
	$(CHECK_PYTHON)
	@'$(PYTHON)' scripts/constraints.py --check

clean:  ## remove .venv and what the tools left; runs/ stays
	@rm -rf .venv .environments build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

train-env:
	$(CHECK_PYTHON)
	@'$(PYTHON)' scripts/install.py train $(EXACT)

docs-env:
	$(CHECK_PYTHON)
	@'$(PYTHON)' scripts/install.py docs $(EXACT)

verl-env: .venv-verl/installed

.venv-verl/installed: constraints-verl.txt
	$(CHECK_PYTHON)
	@'$(PYTHON)' -m venv .venv-verl
	@.venv-verl/bin/python -m pip install --quiet --requirement constraints-verl.txt
	@touch $@

dev-env:
	$(CHECK_PYTHON)
	@'$(PYTHON)' scripts/install.py train,dev $(EXACT)
