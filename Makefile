# Every target makes the virtual environment it runs in; a `python3` is all that has to be there.
# `make test PYTHON=python3.12` works in .venv-3.12, beside the .venv of the default interpreter.

PYTHON ?= python3
ifeq ($(origin PYTHON),file)
  VENV := .venv
else
  VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest

.NOTPARALLEL:
.SECONDARY:
.PHONY: help quickstart test test-all bench lint docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

quickstart: $(VENV)/.has-experiments  ## the first experiment: scores, times and one picture
	$(PY) experiments/quickstart.py

test: $(VENV)/.has-test  ## tests and doctests, without the slow ones; ARGS="-k lasso" selects
	$(PYTEST) -n 2 -m "not slow" $(ARGS)

test-all: $(VENV)/.has-test  ## every test, compiled as users' programs are
	XLA_FLAGS= $(PYTEST) -n 2 $(ARGS)

bench: $(VENV)/.has-bench  ## timings beside other libraries
	$(PYTEST) -W default benchmarks $(ARGS)

lint: $(VENV)/.has-dev  ## ruff and pyright
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright --pythonpath $(PY)

docs: $(VENV)/.has-docs  ## the pages, with the gallery executed, in docs/_build/html
	$(PY) -m sphinx -W --keep-going -q docs docs/_build/html

clean:  ## remove what the other targets made
	rm -rf .venv .venv-* .cache .pytest_cache .ruff_cache .hypothesis .benchmarks build dist docs/_build docs/api/generated docs/gallery

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.has-%: pyproject.toml $(VENV)/.made
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
