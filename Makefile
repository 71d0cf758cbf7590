# Everything a person or CI types. `make env` is called by the others and does nothing when nothing changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: env reproduce test demo golden gate lint benchmark

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

reproduce: env
	snakemake --cores all --report results/report.html --report-after-run

demo: env
	mkdir -p demo
	snakemake --snakefile Snakefile --directory demo --cores all --config scale=smoke datasets=digits \
	    --report results/report.html --report-after-run

benchmark: $(VENV)/.benchmarked
	snakemake --cores all benchmark

test: $(VENV)/.tested
	pytest

golden: $(VENV)/.tested
	pytest tests/test_golden.py

gate: env
	mkdir -p demo
	snakemake --snakefile Snakefile --directory demo --cores all check --config scale=smoke datasets=digits

lint: $(VENV)/.tested
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy
