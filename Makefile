# Every target sets up .venv itself; nothing is needed but Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
TESTED := torch==2.14.1 torchvision==0.29.1

.PHONY: demo test check format docs bench clean
.DEFAULT_GOAL := demo

demo: .venv/.lab            ## train and compare on the embedded dataset, print the table, write the report
	$(BIN)/rollingq compare --data av_digits --out runs/demo

test: .venv/.dev            ## run the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: .venv/.dev           ## lint, formatting, types, layers, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs src tests examples benchmarks scripts

format: .venv/.dev          ## mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev           ## run the timings behind the figures in README and docs, and copy them there
	cd benchmarks && ../$(BIN)/python fusion.py && ../$(BIN)/python overhead.py && ../$(BIN)/python step.py && ../$(BIN)/python decode.py && ../$(BIN)/python prepare.py
	$(BIN)/rollingq complexity --preset paper-table4 --json > benchmarks/results/complexity.json
	$(BIN)/python scripts/fill_numbers.py

docs: .venv/.dev            ## build the documentation into docs/_build
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/sphinx-build -W -q docs docs/_build

clean:                      ## remove what can be made again
	rm -rf .venv runs docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Expected Python 3.11 or newer, but got " + sys.version.split()[0] + "; call make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.lab: .venv/bin/pip pyproject.toml
	@echo "Setting up .venv: a few minutes, and several GB for PyTorch."
	$(BIN)/pip install --disable-pip-version-check --quiet $(TESTED)
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[lab]'
	touch $@

.venv/.dev: .venv/.lab
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[dev]'
	touch $@
