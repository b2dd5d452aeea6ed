# make demo     the whole chain on made tiles, no account needed
# make test     every test
# make networks name, parameters and how many of them train, of each network
# make bench-*  side-by-side measurements, see bench/
# make format   format and lint
# make settings write what is generated from the types of the settings: JSON schema, tables of config/README.md

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.pins
CORES ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: environment demo test networks settings check format
.DELETE_ON_ERROR:

environment: $(READY)

# Rebuilt when a pin has changed, and never otherwise: compared by content, so that a fresh checkout changes nothing.
PINS := $(shell cat envs/requirements.txt envs/development.txt | cksum | tr ' ' '-')
ifneq ($(PINS),$(shell cat $(READY) 2>/dev/null))
.PHONY: $(READY)
endif

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/development.txt
	@echo $(PINS) > $@

demo: $(READY)
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml -- submission

test: $(READY)
	$(BIN)/pytest

settings: $(READY)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m histo.config

networks: $(READY)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m histo.networks

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/snakemake --lint

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

bench-%: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(BIN)/python bench/$*.py
