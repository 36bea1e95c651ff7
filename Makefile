# Every target sets up what it needs. `make book` on a fresh machine wants Python, git and make; .ci/setup says which
# Python, and takes PYTHON, TORCH and PIP_ARGS, as in `make book PYTHON=python3.12 TORCH=cuda`.

PROFILE ?= quick
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
  --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := book
.PHONY: setup book test test-long full published pdf score bench lab lint lock serve clean clean-venv clean-all

setup:                 ## make .venv, or bring it up to date
	@sh .ci/setup

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
	grep == requirements.txt .ci/torch.txt --no-filename | sed 's/ *\\$$//' > .venv/constraints.txt
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint .venv/constraints.txt \
	  --requirement tests/benchmarks/requirements.txt
	$(BIN)/python -m pytest tests/benchmarks -s

lab: setup             ## open the chapters in JupyterLab
	$(BIN)/jupyter lab --notebook-dir .

lint: setup            ## check style, types and dependencies, and that pairs of notebooks are in step
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry .
	$(BIN)/python -m pytest -q tests/test_project.py

lock: setup            ## renew the pins from pyproject.toml; LOCK_ARGS=--upgrade takes the newest of everything
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) uv
	PATH="$(CURDIR)/$(BIN):$$PATH" sh .ci/lock $(LOCK_ARGS)

serve: setup           ## show the rendered book at http://localhost:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

clean:                 ## remove pages and caches; results stay
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis

clean-venv:            ## remove the installed packages
	rm -rf .venv

clean-all: clean clean-venv ## remove everything that other targets made, also results that took hours
	rm -rf artifacts
