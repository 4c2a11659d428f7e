# build, demo, test, bench: each does its own set-up on a machine with Rust, CPython 3.10 or later
# and a C compiler. `make PYTHON=python3.12 build` takes another interpreter than python3.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Cargo uses every core by itself; two of our steps at once would only wait for its lock.
.NOTPARALLEL:

PYTHON ?= python3
# Tests wait more than they work, and some measure: no more of them at once than two cores bear.
TEST_PROCESSES ?= 2
CARGO ?= cargo
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# An activated environment of the user's must not decide what is built.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
ifneq ($(PYTHON),python3)
export PYO3_PYTHON := $(shell command -v $(PYTHON))
endif

VENV := .venv
BUILD_VENV := .venv-build
UWSGI_VENV := .venv-uwsgi
PACKAGE := crates/unspool-python
SCRIPTS := $(PACKAGE)/unspool.data/scripts
LOGS := $(CARGO_TARGET_DIR)/test-logs
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# Folders too: a file that goes away is a change.
SOURCES := $(shell find crates -name __pycache__ -prune -o -name unspool.data -prune -o -print) \
	Cargo.toml Cargo.lock README.md
TYPED := $(PACKAGE)/python/unspool $(PACKAGE)/python/uwsgi.py \
	$(PACKAGE)/python/uwsgidecorators.py

.PHONY: help build demo test torture bench clean prerequisites
.PHONY: test-style test-rust test-types test-python test-fuzz

help:
	@echo 'make build   the wheel in dist/, installed with its command into .venv'
	@echo 'make demo    build, then the main job on a temporary spool, step by step'
	@echo 'make test    all tests, formatting, lints and types'
	@echo 'make torture load, a million tasks, a minute of each fuzz target, kills, lost power, bad disks'
	@echo 'make bench   unspool beside the real uWSGI'
	@echo 'make clean   remove everything that the others made'

## build

build: $(VENV)/.installed

prerequisites:
	@tools/prerequisites.sh '$(PYTHON)'

$(BUILD_VENV)/.installed: requirements/build.txt | prerequisites
	$(PYTHON) -m venv --clear $(BUILD_VENV)
	$(BUILD_VENV)/bin/python $(PIP_INSTALL) -r $<
	touch $@

# maturin packs the module and whatever lies in the data folder, so the binary goes there first.
dist/.built: $(SOURCES) $(PACKAGE)/pyproject.toml $(BUILD_VENV)/.installed | prerequisites
	$(CARGO) build --release --locked --package unspool
	mkdir -p $(SCRIPTS) dist
	install -m 755 $(CARGO_TARGET_DIR)/release/unspool $(SCRIPTS)/unspool
	rm -f dist/unspool-*.whl
	$(BUILD_VENV)/bin/maturin build --release --locked --manifest-path $(PACKAGE)/Cargo.toml \
		--interpreter $(CURDIR)/$(BUILD_VENV)/bin/python --out dist
	touch $@

$(VENV)/.installed: dist/.built
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps dist/unspool-*.whl
	$(VENV)/bin/unspool --version
	touch $@

## demo

demo: build
	$(VENV)/bin/python demo/main_job.py

## test

test: test-style test-rust test-types test-python test-fuzz
	@tools/test_summary.sh $(LOGS)/rust.log $(LOGS)/doctests.log $(LOGS)/pytest.log

$(VENV)/.test-tools: requirements/test.txt $(VENV)/.installed
	$(VENV)/bin/python $(PIP_INSTALL) -r $<
	touch $@

$(UWSGI_VENV)/.installed: requirements/uwsgi.txt | prerequisites
	@tools/prerequisites.sh '$(PYTHON)' uwsgi
	$(PYTHON) -m venv --clear $(UWSGI_VENV)
	$(UWSGI_VENV)/bin/python $(PIP_INSTALL) --no-binary uwsgi -r $<
	touch $@

test-style: $(VENV)/.test-tools
	$(CARGO) fmt --all --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# The Python module has no Rust tests: it cannot be loaded without an interpreter.
test-rust: | prerequisites
	mkdir -p $(LOGS)
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --exclude unspool-python --locked; \
	else \
		$(CARGO) test --workspace --exclude unspool-python --all-targets --locked; \
	fi 2>&1 | tee $(LOGS)/rust.log
	$(CARGO) test --doc --workspace --exclude unspool-python --locked 2>&1 \
		| tee $(LOGS)/doctests.log

test-types: $(VENV)/.test-tools
	$(VENV)/bin/mypy $(TYPED) tests demo bench torture
	MYPYPATH=$(PACKAGE)/python $(VENV)/bin/python -m mypy.stubtest unspool._native
	UNSPOOL_CONFIG=tests/typing/uwsgi_stub.ini MYPYPATH=$(PACKAGE)/python \
		$(VENV)/bin/python -m mypy.stubtest uwsgi --mypy-config-file mypy.ini \
		--allowlist tests/typing/uwsgi_stub.allow

# A machine without Python's headers still runs all the rest.
test-python: $(VENV)/.test-tools
	if tools/prerequisites.sh '$(PYTHON)' uwsgi; then \
		$(MAKE) --no-print-directory $(UWSGI_VENV)/.installed; \
	else \
		echo 'warning: the tests beside the real uWSGI are not run' >&2; \
	fi
	tools/system_tools.sh
	mkdir -p $(LOGS)
	$(VENV)/bin/python -m pytest --color=no -n $(TEST_PROCESSES) --dist loadfile 2>&1 \
		| tee $(LOGS)/pytest.log

# libFuzzer is C++. A machine without a compiler for that still runs all the rest.
test-fuzz: $(VENV)/.test-tools
	if tools/prerequisites.sh '$(PYTHON)' fuzz; then \
		$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check; \
		$(VENV)/bin/python -m torture --part fuzz --fuzz-seconds 1; \
	else \
		echo 'warning: the fuzz targets are not run' >&2; \
	fi

## torture

torture: build $(UWSGI_VENV)/.installed
	tools/system_tools.sh machine
	$(VENV)/bin/python -m torture $(TORTURE_ARGUMENTS)

## bench

bench: build $(UWSGI_VENV)/.installed
	tools/system_tools.sh bench
	$(VENV)/bin/python -m bench $(BENCH_ARGUMENTS)

clean:
	rm -rf dist $(VENV) $(BUILD_VENV) $(UWSGI_VENV) $(PACKAGE)/unspool.data
	rm -rf .mypy_cache .ruff_cache .pytest_cache
	$(CARGO) clean
