# Everything on a fresh machine with Python 3.11 or newer: `make quickstart`, `make test`. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
LOWEST_PYTHON := $(shell sed -n 's/requires-python = ">=\(.*\)"/\1/p' pyproject.toml)
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# Without bytecode, each process would compile all its imports again: 12 s instead of 5 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install quickstart test test-slow test-lowest lint format gpu gpu-quick

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

install: $(STAMP)  ## Create .venv and install the project in it.

quickstart: $(STAMP)  ## Train on generated images for about a minute.
	$(RUN) training.py fit --config quickstart.yaml
	@echo "To run commands as they are printed in README, activate the environment once: source $(VENV)/bin/activate"

test: $(DEV_STAMP)  ## Run all tests except the slow ones.
	$(RUN) -m pytest

test-slow: $(DEV_STAMP)  ## Run the slow tests.
	$(RUN) -m pytest -m "slow and not network"

# Each in an environment of its own, made anew, of 6 GB. TESTS=tests/run runs fewer.
test-lowest:  ## Run all fast tests with the lowest versions of all requirements, then with the newest; needs uv.
	@$(call test_with,lowest-direct,$(LOWEST_PYTHON))
	@$(call test_with,highest,$(PYTHON))

lint: $(DEV_STAMP)  ## Check style and formatting.
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

format: $(DEV_STAMP)  ## Fix style and formatting where ruff can.
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

# The most informative hour comes first; EPOCHS=10 shortens the ten ResNets. Interrupted trainings resume, and if one fails,
# the others still run. If all packages are installed already: make gpu RUN=python3 -o .venv/.installed -o .venv/.installed-dev
gpu: $(DEV_STAMP)  ## On a GPU: its tests, the benchmark, a short record, the ten ResNets, long records, and reports of all runs.
	@$(RUN) -c "import sys, torch; torch.cuda.is_available() or sys.exit('torch finds no usable GPU; check the output of nvidia-smi')"
	-$(RUN) -m pytest -m gpu
	-[ -e benchmark/benchmark.md ] || $(RUN) -m tiny_imagenet.benchmark --out benchmark
	-$(RUN) training.py fit --config records/tiny_resnet18_fast.yaml --ckpt_path last
	-$(RUN) -m tiny_imagenet.sweep resnets.yaml $(if $(EPOCHS),--trainer.max_epochs $(EPOCHS))
	-$(RUN) -m tiny_imagenet.report runs --out report
	for recipe in cifar10_5m tiny_resnet50 tiny_resnet18_long; do \
		$(RUN) training.py fit --config records/$$recipe.yaml --ckpt_path last || [ $$? -lt 128 ] || exit; done
	$(RUN) -m tiny_imagenet.report runs --out report

gpu-quick: $(DEV_STAMP)  ## On a GPU, nine minutes once the data is there: its tests, the speed of training, a short record.
	@$(RUN) -m tiny_imagenet.benchmark.gpu_quick

# The stamps are written last, so an interrupted installation is repeated.
$(STAMP): requirements.txt pyproject.toml
	@$(call pip_install,-e .)
	@touch $@

$(DEV_STAMP): $(wildcard requirements-*.txt) $(STAMP)
	@$(call pip_install,-e ".[dev]")
	@touch $@

define pip_install
if command -v uv > /dev/null; then \
	[ -x $(RUN) ] || uv venv --quiet --python $(PYTHON) $(VENV); \
	uv pip install --quiet --python $(RUN) $(1); \
else \
	[ -x $(RUN) ] || $(PYTHON) -m venv $(VENV); \
	$(RUN) -m pip install --quiet --disable-pip-version-check $(1); \
fi
endef

define test_with
uv venv --quiet --clear --python $(2) .venv-$(1) && \
uv pip install --quiet --python .venv-$(1) --resolution $(1) $(addprefix -r ,$(wildcard requirements*.txt)) && \
uv pip install --quiet --python .venv-$(1) --no-deps -e . && \
.venv-$(1)/bin/python -m pytest $(TESTS)
endef
