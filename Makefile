# make demo: sets up its own environment and runs the whole thing on a phantom. make test: sets up and passes the tests.
PYTHON ?= python3
ENVIRONMENT ?= .venv
BIN := $(ENVIRONMENT)/bin

.PHONY: demo test lint

demo: $(ENVIRONMENT)/ready
	$(BIN)/python scripts/demo.py

test: lint $(ENVIRONMENT)/experiments
	$(BIN)/python -m pytest

lint: $(ENVIRONMENT)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first, at the pinned version: with it installed, no range below makes pip look for a newer one
$(ENVIRONMENT)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

$(ENVIRONMENT)/experiments: $(ENVIRONMENT)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[experiments]'
	touch $@
