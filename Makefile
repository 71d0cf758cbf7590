# Everything a person or CI types. `make env` is called by the others and does nothing when nothing changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
DEMO := --snakefile Snakefile --directory demo
SMOKE := --config scale=smoke datasets=digits
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: env reproduce test test-slurm fuzz demo golden gate lint benchmark

env: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --disable-pip-version-check --requirement requirements.lock
	pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.tested: $(VENV)/.installed requirements-dev.lock
	pip install --quiet --disable-pip-version-check --requirement requirements-dev.lock
	touch $@

$(VENV)/.benchmarked: $(VENV)/.installed requirements-benchmark.lock
	pip install --quiet --disable-pip-version-check --requirement requirements-benchmark.lock
	touch $@

# $(1) and $(2): options before and after what snakemake is asked for; $(3): the work folder. A report is made where all
# went well, and where a run has diverged, which it says, with the status 1 of the whole
define reported
rm -f $(3)/results/logs/tables/sound.log
snakemake $(1) --cores all $(2); status=$$?; \
    if [ $$status = 0 ] || grep -qs "runs diverged" $(3)/results/logs/tables/sound.log; \
    then snakemake $(1) --report results/report.html $(2) || status=$$?; fi; \
    exit $$status
endef

reproduce: env
	$(call reported,,,.)

demo: env
	mkdir -p demo
	$(call reported,$(DEMO),$(SMOKE),demo)

benchmark: $(VENV)/.benchmarked
	snakemake --cores all benchmark

# two workers, of a gigabyte each: one has the whole graph's tests, which take all cores by themselves
test: $(VENV)/.tested
	pytest --numprocesses 2 --dist loadgroup

# a Slurm of one node on this machine: root, Debian's packages, minutes. The plugin goes into a folder of its own,
# because it delays every snakemake command by ten seconds where no Slurm answers
test-slurm: $(VENV)/.tested $(VENV)/slurm
	tests/cluster/slurm.sh install
	PYTHONPATH=$(CURDIR)/$(VENV)/slurm pytest tests/cluster/on_slurm.py

$(VENV)/slurm: requirements-slurm.lock $(VENV)/.installed
	pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ --requirement requirements-slurm.lock
	touch $@

fuzz: $(VENV)/.tested
	AEVB_FUZZ_SECONDS=$${AEVB_FUZZ_SECONDS:-60} pytest tests/test_fuzz.py

golden: $(VENV)/.tested
	pytest tests/test_golden.py

gate: env
	mkdir -p demo
	snakemake $(DEMO) --cores all check $(SMOKE)

lint: $(VENV)/.tested
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy
