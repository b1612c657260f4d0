# `make demo` installs halloo into .venv and runs a demo; `make test` runs the tests. Both create .venv first.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test check check-all bench matrix format clean

demo: $(VENV)/.runtime
	$(BIN)/halloo demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto $(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

# Also run every marked test, one after another: `halloo check` against halloo and its mutants, with the cases that wait
# or load the machine, floods, and the tests of the pages in the unpacked sdist. Many minutes.
check-all: check test
	$(BIN)/python -m pytest -m conformance

# Compare halloo with other servers on this machine; needs a C compiler. See bench/README.md.
bench: $(VENV)/.bench
	$(BIN)/python -m bench.tcp
	$(BIN)/python -m bench.udp
	$(BIN)/python -m bench.ping
	$(BIN)/python -m bench.plot

# Run `halloo check` on well-known servers and write docs/matrix.md; needs a C compiler and half an hour.
matrix: $(VENV)/.bench
	$(BIN)/python -m bench.matrix

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# The bundled pip may be too old for dependency groups (PEP 735), so upgrade it first.
$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

$(VENV)/.runtime: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

clean:
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis
