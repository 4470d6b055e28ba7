# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.setup-done
DEMO_RUN := runs/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix lock bench docs clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-7s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv with the locked packages and this project

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "deta needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## train a small DETA on generated images, evaluate it and draw what it finds
	rm -rf $(DEMO_RUN)
	$(BIN)/deta train experiment=demo hydra.run.dir=$(DEMO_RUN)

test: setup  ## run the tests, on every core
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup  ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: setup  ## apply formatting and safe lint fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: setup  ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml -o requirements.lock --quiet --upgrade

bench: setup  ## time the training step and the attention operator on this machine
	$(BIN)/python scripts/benchmarks/training_step.py
	$(BIN)/python -m benchmarks.cpu

docs: setup  ## build the documentation into site/, to be read from disk
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:  ## remove the environment and caches, keep runs
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist site
