# Everything this project does for a person. Needs Python >= 3.11 and make; the rest is installed into .venv.

PYTHON ?= python3
OUT ?= out
SCENES ?= clips/scenes-64

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
CODE := src tests benchmarks
# Two processes of one thread each: more threads per process would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help venv demo studio test test-browser lint format scenes clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: .venv/.ready-demo ## Install ipoke into .venv

demo: .venv/.ready-demo ## Poke the bundled still; look into out/
	$(BIN)/ipoke demo --out $(OUT)
	@echo "look at $(OUT)/demo.webp (plays in a browser) and $(OUT)/demo.png"

studio: .venv/.ready-studio ## Open the page on which pictures are poked
	$(BIN)/ipoke serve

test: lint ## Lint, check types, run every test and every example in a docstring
	$(PYTEST) --doctest-modules -m 'not browser' src/ipoke tests

test-browser: .venv/.ready-browser ## Use the studio in a real browser; needs chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser

lint: .venv/.ready-test ## Lint and check types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ty check $(CODE)

format: .venv/.ready-test ## Bring the code into its one shape
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

scenes: .venv/.ready-demo ## Simulate 1000 clips to train on
	$(BIN)/ipoke scenes --out $(SCENES)

clean: ## Remove what make and the tests have made, .venv too; clips and runs stay
	rm -rf .venv out build dist .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -exec rm -rf {} +

# A stamp per set of packages: installed again when what is asked for changes.
.venv/.ready-demo: pyproject.toml constraints.txt | .venv/.made
	$(PIP) -e .
	@touch $@

.venv/.ready-studio: pyproject.toml constraints.txt | .venv/.made
	$(PIP) -e '.[ui]'
	@touch $@ .venv/.ready-demo

.venv/.ready-browser: .venv/.ready-test
	$(PIP) -e '.[dev,browser]'
	@touch $@

.venv/.ready-test: pyproject.toml constraints.txt | .venv/.made
	$(PIP) -e '.[dev]'
	@touch $@ .venv/.ready-demo .venv/.ready-studio

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@
