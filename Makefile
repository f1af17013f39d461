# `make demo` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "mosaic needs Python >= 3.11"'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

.PHONY: test
test: $(VENV)/.stamp  ## the test suite, in .venv
	$(PY) -m pytest -m "not interop and not bench" $(ARGS)

.PHONY: bench-storage
bench-storage: $(VENV)/.stamp  ## the gate beside bare clients, at 30 ms
	$(PY) -m pip install -q --disable-pip-version-check -e '.[bench]'
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_storage.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.stamp  ## ruff, mypy and the import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: clean
clean:  ## remove .venv and what the demo made
	rm -rf $(VENV) demo
