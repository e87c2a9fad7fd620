# Everything works as the first command in a fresh clone: whatever needs the environment makes it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help setup train test test-all check docs docs-serve bench clean

help:
	@echo "make train     train the small model that ships, by self-play, on this machine's CPU"
	@echo "make test      the tests that need nothing but this machine; with CI=true, coverage of the core too"
	@echo "make test-all  those that take longer, or need a Docker engine or a browser, too"
	@echo "make check     style, types, import rules, documentation"
	@echo "make docs      the documentation site, into site/; any warning, dead link or dead anchor is an error"
	@echo "make docs-serve  the same at http://localhost:8000, built anew as you write"
	@echo "make bench     a table of all benchmarks' ratios"
	@echo "make setup     only make the environment in $(VENV), with all that development needs"

setup: $(DEV)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "azr needs Python 3.11 or later; name one with make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $(READY)

$(DEV): $(READY)
	$(PIP) -e '.[dev]'
	@touch $(DEV)

train: $(READY)
	$(BIN)/azr train demo

# Three workers on two cores: the tests of the sandbox mostly wait. In CI they also measure coverage, which takes a third longer.
test: $(DEV)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow and not docker and not browser" $(if $(CI),--cov --cov-report=)
	$(if $(CI),$(BIN)/coverage report --skip-covered --fail-under=95)

test-all: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(DEV) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV)
	$(BIN)/zensical build --clean --strict

docs-serve: $(DEV)
	$(BIN)/zensical serve

bench: $(DEV)
	$(BIN)/python bench/table.py

clean:
	rm -rf $(VENV) site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
