# `make demo` and `make test` need Python >= 3.11 and make, nothing else.
# Another Python: make test PYTHON=python3.13 VENV=.venv-313
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -q --disable-pip-version-check

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(PY):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mosaic needs Python >= 3.11, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# what a user installs
$(VENV)/.core: pyproject.toml | $(PY)
	$(PIP) -e .
	@touch $@

# and what the tests and linters need besides
$(VENV)/.dev: pyproject.toml | $(PY)
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.core $@

.PHONY: demo
demo: $(VENV)/.core  ## scenes in two UTM zones, their mosaic, and demo/seam.png
	$(PY) -m catalogs.demo

.PHONY: test
test: $(VENV)/.dev  ## the tests (ARGS= for pytest's own arguments)
	$(PY) -m pytest -m "not interop and not bench" $(ARGS)

.PHONY: bench
bench: $(VENV)/.dev  ## reads beside odc-stac, stackstac, rio-tiler, GDAL and lazycogs, at 30 ms
	$(PY) -m tests.benchmarks.bench_read $(ARGS)

.PHONY: bench-composite
bench-composite: $(VENV)/.dev  ## a median of twelve dates beside odc-stac and xarray, at 30 ms
	$(PY) -m tests.benchmarks.bench_composite $(ARGS)

.PHONY: bench-odc
bench-odc: $(VENV)/.dev  ## odc.stac.load by this package's driver and by its own, at 30 ms
	$(PY) -m tests.benchmarks.bench_odc $(ARGS)

.PHONY: bench-export
bench-export: $(VENV)/.dev  ## a COG and a Zarr store of 20,000 x 20,000 pixels: memory, kills
	$(PY) -m tests.benchmarks.bench_export $(ARGS)

.PHONY: bench-open
bench-open: $(VENV)/.dev  ## opening a mosaic of 100,000 items, or MOSAIC_BENCH_ITEMS
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_open.py $(ARGS)

.PHONY: bench-storage
bench-storage: $(VENV)/.dev  ## the gate beside bare clients, at 30 ms
	$(PY) -m pip install -q --disable-pip-version-check -e '.[bench]'
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_storage.py tests/storage/test_load.py $(ARGS)

.PHONY: bench-gateway
bench-gateway: $(VENV)/.dev  ## mosaic serve: cold reads by GDAL, warm tiles, many clients
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_gateway.py $(ARGS)

.PHONY: bench-warp
bench-warp: $(VENV)/.dev  ## the compiled kernels: nanoseconds a pixel, and the first call
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_warp.py $(ARGS)

.PHONY: bench-index
bench-index: $(VENV)/.dev  ## builds of 1,000 to a million items, and reads of their indexes
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_index.py $(ARGS)

.PHONY: bench-search
bench-search: $(VENV)/.dev  ## a hundred thousand items from a STAC API into a mosaic
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_search.py $(ARGS)

.PHONY: bench-update
bench-update: $(VENV)/.dev  ## a mosaic of a million items: updated, asked, opened over HTTP
	$(PY) -m pytest -q -s -m bench tests/benchmarks/bench_update.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev  ## ruff, mypy and the import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: interop
interop: $(VENV)/.dev  ## real GDAL 3.10 and newest, QGIS, R, in Debian roots (needs root, debootstrap)
	$(PY) tests/interop/roots.py build trixie --with qgis r postgis browser
	$(PY) tests/interop/roots.py build forky --with r-zarr
	$(PY) -m pytest -m interop tests/interop $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev  ## the TIFF parser under a coverage-guided fuzzer (ARGS= for libFuzzer's)
	$(PIP) atheris
	$(PY) -m tests.engine.fuzz_tiff -max_total_time=600 $(ARGS)

.PHONY: sample
sample: $(VENV)/.core  ## build catalogs/sample and the README's picture anew
	$(PY) -m catalogs.make_sample

.PHONY: page
page: $(VENV)/.dev  ## the README's picture of the map page anew (needs root, debootstrap)
	$(PY) tests/interop/roots.py build trixie --with browser
	$(PY) -m catalogs.make_page

.PHONY: clean
clean:  ## remove .venv and what the demo made
	rm -rf $(VENV) demo
