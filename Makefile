# make environment   .venv with the pinned packages
# make demo          every stage on synthetic tiles, no account needed
# make test          all tests, slow ones included
# make test-slurm    the workflow on a real SLURM of two virtual nodes, which is installed (Debian, Ubuntu) if it is missing
# make runs          table: finished runs and their scores
# make axe-core      axe-core from npm's package index into ~/.cache/histo, for the tests of accessibility; needs npm
# make changes       tables: which rules run again after the change of which module, setting or file
# make docs          site/: the documentation as a site, from README.md, docs/, config/README.md and bench/
# make check         lint and formatting, nothing is changed
# make format        fix both
# make settings      JSON schema and the tables of config/README.md, from the types of the settings
# make networks      name, parameters and trainable parameters of each network
# make architecture  docs/architecture.svg, from the source code
# make augmentations docs/augmentations.webp, with the strengths of the model lite0
# make pictures      docs/overlaps.webp; docs/report.webp and docs/tiles.webp, from the report of the demo (make demo); needs Chromium
# make field-of-view docs/field_of_view.webp, from a finished run: RESULTS=results/kaggle MODEL=lite0
# make bench-NAME    bench/NAME.py, writes bench/NAME.md; options: make bench-rehearsal OPTIONS="--tiles 28000"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.pins
CORES ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: environment demo test test-slurm slurm axe-core runs changes settings networks architecture augmentations docs pictures field-of-view check format
.DELETE_ON_ERROR:

environment: $(READY)

# Rebuilt only when a pin has changed. Pins are compared by content: a checkout renews time stamps and rebuilds nothing.
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

# Three processes at once, since those of the workflow wait for one job after the other, and those on SLURM for the queue.
# The output of these two follows.
test: $(READY)
	@export OMP_NUM_THREADS=1; folder=$$(mktemp -d); \
	$(SLURM_TESTS) > "$$folder/slurm" 2>&1 & slurm=$$!; \
	$(WORKFLOW_TESTS) > "$$folder/workflow" 2>&1 & workflow=$$!; \
	$(BIN)/pytest --ignore=tests/slurm --ignore=tests/workflow; others=$$?; \
	wait $$workflow; workflow=$$?; cat "$$folder/workflow"; \
	wait $$slurm; slurm=$$?; cat "$$folder/slurm"; \
	rm -r "$$folder"; exit $$((others | workflow | slurm))

WORKFLOW_TESTS = $(BIN)/pytest -p no:cacheprovider tests/workflow
SLURM_TESTS = $(BIN)/pytest -p no:cacheprovider --durations=0 tests/slurm

test-slurm: $(READY) slurm
	$(SLURM_TESTS)

# Nothing is started: the tests run their own SLURM, in a folder of their own and not as a service.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
slurm:
	@PATH="$$PATH:/usr/sbin"; command -v slurmctld slurmd munged sbatch > /dev/null || { \
	  $(AS_ROOT) apt-get update -qq && \
	  $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    slurmctld slurmd slurm-client munge > /dev/null; }

runs: $(READY)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m histo.run_table

axe-core: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m support.axe

changes: $(READY)
	@$(BIN)/pytest -q -s tests/test_module_edits.py tests/workflow/test_changes.py

settings: $(READY)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m histo.config

networks: $(READY)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m histo.networks

architecture: $(READY)
	$(BIN)/python docs/architecture.py

augmentations: $(READY)
	$(BIN)/python docs/augmentations.py

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo site/README.html

pictures: $(READY)
	$(BIN)/python docs/overlaps.py
	$(BIN)/python docs/pictures.py

RESULTS ?= results/kaggle
MODEL ?= lite0
field-of-view: $(READY)
	$(BIN)/python docs/field_of_view.py $(RESULTS) $(MODEL)

check: $(READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(call quietly,$(BIN)/snakefmt --check Snakefile workflow)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/codespell
	@$(call quietly,$(BIN)/snakemake --lint)

# Output of a command only when it fails.
quietly = out=$$($(1) 2>&1) || { printf '%s\n' "$$out"; exit 1; }

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

bench-%: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(BIN)/python bench/$*.py $(OPTIONS)
