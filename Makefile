# Every target sets up what it needs: `make book` on a fresh machine wants Python 3.11 or newer, git and make.
# Extra arguments for pip go through PIP_ARGS, for PyTorch's processor-only build say (see README.md).

PYTHON ?= python3
PIP_ARGS ?=
PROFILE ?= quick
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile
READY := .venv/ready

.DEFAULT_GOAL := book
.PHONY: setup book test test-long full published pdf score bench lint serve clean

setup: $(READY)

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --requirement requirements.txt
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --no-deps --no-build-isolation --editable .
	touch $@

book: setup            ## run the chapters and render them into _build/html
	$(BIN)/flowcal run --profile $(PROFILE)
	$(BIN)/flowcal book --profile $(PROFILE)

test: book             ## run the tests, and every chapter against its stored outputs
	@failed=0; \
	$(PYTEST) tests --doctest-modules src || failed=1; \
	$(PYTEST) --nbval --nbval-current-env notebooks || failed=1; \
	exit $$failed

test-long: book        ## run the long matrices of faults, spoiled files and pages
	$(PYTEST) tests -m long

full: PROFILE = full
full: book             ## the same as book with the paper's budgets

published: setup       ## render the chapters kept in book/published without running them
	$(BIN)/flowcal book --published

pdf: setup             ## print the chapters kept in book/published as _build/flowcal.pdf, with a Chromium
	$(BIN)/flowcal book --published --pdf

score: setup           ## judge both methods on synthetic systems, with the networks of `full`
	$(BIN)/flowcal run --profile full
	$(BIN)/flowcal score

bench: setup           ## measure what the page of benchmarks shows, beside the study's peers
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint requirements.txt --requirement tests/benchmarks/requirements.txt
	$(BIN)/python -m pytest tests/benchmarks -s

lint: setup            ## check style and types, and that pairs of notebooks are in step
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_project.py

serve: setup           ## show the rendered book at http://localhost:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

clean:                 ## remove what the other targets made, but not the campaigns of programs
	rm -rf .venv _build .mypy_cache .pytest_cache .ruff_cache .hypothesis artifacts/quick* artifacts/full*
