# Two commands do all the set-up on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
FIELD ?= poisson
LESSONS ?= full
READY := $(VENV)/.ready

.PHONY: train test test-all check docs clean

# Set up, then train FIELD on real digits and end with a picture and a report.
train: $(READY)
	$(VENV)/bin/diffode train --field $(FIELD)

# Set up, then pass the tests, but for those that train for minutes.
test: $(READY)
	$(VENV)/bin/python -m pytest -m "not slow"

# Set up, then pass all tests.
test-all: $(READY)
	$(VENV)/bin/python -m pytest

# Lint, format and types, as the continuous integration runs them.
check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The documentation site: open site/index.html. LESSONS=small runs the lessons with little work.
docs: $(READY)
	$(VENV)/bin/python -m scripts.site --lessons $(LESSONS)

# torch comes first, so that the pinned version and no newer one is taken.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "diffode needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -c constraints.txt torch
	$(VENV)/bin/pip install -q -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build site .mypy_cache .pytest_cache .ruff_cache
