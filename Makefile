# Everything this project does for a person. Needs Python >= 3.11 and make; the rest is installed into .venv.

PYTHON ?= python3
OUT ?= out
SCENES ?= clips/scenes-64
# The release of PyTorch that is installed into .venv; constraints.txt names the tested one.
TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)

# Where a virtual environment has its programs.
BIN_OF := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := .venv/$(BIN_OF)
INSTALL := -m pip install --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL) -c .venv/constraints.txt
CODE := src tests benchmarks
# Two processes of one thread each: more threads per process would wait for each other.
PYTEST := -m pytest -n 2 --dist worksteal
export OMP_NUM_THREADS := 1

# Tests of what is done with each dependency.
TESTS_OF_DEPENDENCIES := tests/test_versions.py tests/core tests/data/test_video.py tests/data/test_images.py tests/data/test_clips.py \
	tests/data/test_ray_workers.py tests/scenes tests/studio tests/sampling tests/evaluation/figures tests/evaluation/metrics \
	tests/exchange/export tests/networks/test_latent_flow.py tests/cli/test_cli_mistakes.py
# Tests of decoding in a process of its own, and of sampling.
TESTS_OF_WHEELS := tests/studio tests/core/reading tests/data/test_video.py tests/data/test_images.py tests/sampling \
	tests/networks/test_latent_flow.py
# Tests of what runs on every system: the model, its files and pictures, without the studio.
CORE := tests/test_versions.py tests/test_structure.py tests/core/test_settings.py tests/core/test_runs.py tests/core/test_pixels.py \
	tests/sampling tests/networks/test_latent_flow.py tests/networks/bijections tests/networks/nn tests/data/test_video.py \
	tests/data/test_images.py tests/data/test_pokes.py

.DEFAULT_GOAL := help
.PHONY: help venv demo studio test test-slow test-core test-browser test-lowest test-default-wheel lint format api scenes lock \
	venv-locked clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

venv: .venv/.ready-demo ## Install ipoke into .venv

demo: .venv/.ready-demo ## Poke the bundled still; look into out/
	$(BIN)/ipoke demo --out $(OUT)
	@echo "look at $(OUT)/demo.webp (plays in a browser) and $(OUT)/demo.png"

studio: .venv/.ready-studio ## Open the page on which pictures are poked
	$(BIN)/ipoke serve

test: lint ## Lint, check types, run every test but slow ones, and every example in a docstring
	$(BIN)/python $(PYTEST) --doctest-modules -m 'not browser and not slow' src/ipoke tests

test-slow: .venv/.ready-test ## Whole runs, several processes, faults at every write, benchmarks
	$(BIN)/python $(PYTEST) -m slow tests

test-core: .venv/.ready-test ## Run the tests of what every system can do
	$(BIN)/python $(PYTEST) $(CORE)

test-browser: .venv/.ready-browser ## Use the studio in a real browser; needs chromium
	$(BIN)/python -m pytest -m browser tests/browser

# Warnings of releases of years ago about newer ones beside them are not this project's.
test-lowest: .venv-lowest/.ready ## Test with the lowest versions that are allowed
	.venv-lowest/$(BIN_OF)/python $(PYTEST) -W ignore $(TESTS_OF_DEPENDENCIES)

test-default-wheel: .venv-default/.ready ## Test with what `pip install torch` takes, on Linux the CUDA build, 5.5 GB
	.venv-default/$(BIN_OF)/python $(PYTEST) $(TESTS_OF_WHEELS)

# Without a cache: what is first-party in one file depends on which other files there are.
lint: .venv/.ready-test ## Lint and check types
	$(BIN)/ruff check --no-cache $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ty check $(CODE)

format: .venv/.ready-test ## Bring the code into its one shape
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

api: .venv/.ready-test ## Write docs/api.md anew from docstrings and help texts
	$(BIN)/python tests/api_page.py

scenes: .venv/.ready-demo ## Simulate 1000 clips to train on
	$(BIN)/ipoke scenes --out $(SCENES)

clean: ## Remove what make and the tests have made, .venv too; clips and runs stay
	rm -rf .venv .venv-* out build dist .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -exec rm -rf {} +

# A stamp per set of packages: installed again when what is asked for changes.
.venv/.ready-demo: pyproject.toml .venv/constraints.txt
	$(PIP) -e .
	@touch $@

.venv/.ready-studio: pyproject.toml .venv/constraints.txt
	$(PIP) -e '.[ui]'
	@touch $@ .venv/.ready-demo

.venv/.ready-browser: .venv/.ready-test
	$(PIP) -e '.[dev,browser]'
	@touch $@

.venv/.ready-test: pyproject.toml .venv/constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@ .venv/.ready-demo .venv/.ready-studio

.venv/constraints.txt: constraints.txt | .venv/.made
	sed 's/^torch==.*/torch==$(TORCH)/' constraints.txt > $@

.venv-lowest/.ready: pyproject.toml constraints-lowest.txt | .venv/.made
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/$(BIN_OF)/python $(INSTALL) -c constraints-lowest.txt -e '.[dev]'
	@touch $@

.venv-default/.ready: pyproject.toml constraints.txt | .venv/.made
	$(PYTHON) -m venv .venv-default
	sed '/^torch==/d' constraints.txt > .venv-default/constraints.txt
	.venv-default/$(BIN_OF)/python $(INSTALL) -c .venv-default/constraints.txt torch -e '.[dev]'
	.venv-default/$(BIN_OF)/python -c 'import platform, sys, torch; on_linux = sys.platform == "linux"; \
	sys.exit("this is a CPU build of PyTorch" if on_linux and platform.machine() == "x86_64" and not torch.version.cuda else 0)'
	@touch $@

# Hashes of every file of every release of the tested set, for all systems and Python versions, and no address. PyTorch has
# a lock of its own: its builds for one device come from elsewhere, with other hashes.
LOCK := -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c constraints.txt

lock: | .venv/.made ## Write the hashes of the tested set, transitive packages too, into requirements*.lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/$(BIN_OF)/python $(INSTALL) uv==0.13.9
	echo torch > .venv-lock/torch.txt
	echo hatchling > .venv-lock/build.txt
	echo 'backports-strenum<1.3' > .venv-lock/bounds.txt # what ai-edge-litert needs; newer ones are for Python 3.10 alone
	.venv-lock/$(BIN_OF)/python $(LOCK) --extra dev --extra pose --extra browser --excludes .venv-lock/torch.txt \
	  -c .venv-lock/bounds.txt pyproject.toml .venv-lock/build.txt -o requirements.lock
	.venv-lock/$(BIN_OF)/python $(LOCK) -c requirements.lock .venv-lock/torch.txt -o requirements-torch.lock

venv-locked: | .venv/.made ## Install the tested set into .venv-locked, every file checked by its hash
	$(PYTHON) -m venv .venv-locked
	.venv-locked/$(BIN_OF)/python $(INSTALL) --require-hashes --no-deps -r requirements.lock -r requirements-torch.lock
	.venv-locked/$(BIN_OF)/python $(INSTALL) --no-deps --no-build-isolation .

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@
