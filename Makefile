# he_gpu: the commands a developer and the continuous integration share.
#
#   make demo         install, then learn XOR on secret shares
#   make test         install with the test tools, then run the tests
#   make test-torch   the tests that need PyTorch, which TORCH names for pip
#   make check        format, lint, types, import directions, Dockerfile
#   make bench        run the benchmarks of bench/ on the CPU and keep their results
#   make report       draw the figures and write the documents' tables from the results kept
#   make gpu          on a CUDA box: test and time with the Python that holds CuPy
#   make gpu-run      on a CUDA box: the same in pieces, the most important first, kept in OUT
#   make gpu-results  put what `make gpu-run` has kept in OUT into bench/results
#   make crossovers   on a CUDA box: measure which kernel suits which shape, rewrite that table
#   make wheel-check  build the wheel and use it alone, outside the checkout
#   make clean        remove the environment and everything built
#
# PYTHON is the interpreter that the environment is made from (for `make gpu`, the one that
# runs); VENV is where the environment lives; ARGS goes to he-gpu xor or to pytest. `make gpu-run`
# goes on where it ended; with MINUTES=9 it begins nothing that might not end within nine minutes.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TORCH ?= .[torch]
OUT ?= build/gpu-run
MINUTES ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
export PIP_NO_WARN_SCRIPT_LOCATION := 1

.PHONY: help demo test test-torch check format bench report gpu gpu-run gpu-results crossovers wheel-check clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/he-gpu xor $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

test-torch: $(VENV)/.torch
	$(BIN)/python -m pytest -k torch $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile.cuda

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet --save-results $(ARGS)

report: $(VENV)/.report
	$(BIN)/python -m bench.report

gpu:
	HE_GPU_REQUIRE_CUDA=1 PYTHONPATH=. $(PYTHON) -m pytest $(ARGS)
	PYTHONPATH=. $(PYTHON) -m pytest bench --device=cuda --benchmark-only --benchmark-quiet \
	    --row-seconds=0.5 --save-results

gpu-run:
	PYTHONPATH=. $(PYTHON) -m bench.gpu_run --out '$(OUT)' $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

gpu-results:
	PYTHONPATH=. $(PYTHON) -m bench.gpu_run --take '$(OUT)'

crossovers:
	PYTHONPATH=. $(PYTHON) -m pytest bench/bench_crossover.py --device=cuda --benchmark-only \
	    --benchmark-quiet --write-crossovers --save-results

wheel-check: $(VENV)/.test
	$(BIN)/python -m pytest tests/test_packaging.py $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .benchmarks .hypothesis .import_linter_cache \
	    .mypy_cache .pytest_cache .ruff_cache
	find . -name '.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment, five stamps: each says that an extra is installed as pyproject.toml has it.
# The install is editable, so a changed source needs no new install.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { \
	    echo "he_gpu needs Python 3.10 to 3.13, which $(PYTHON) is not; name another: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make a virtual environment: its venv package is missing." >&2; \
	    echo "On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
	    exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo "Installing he_gpu into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	@echo "Installing he_gpu[test,nvrtc] into $(VENV)"
	@$(PIP) install --editable '.[test,nvrtc]'
	@touch $@ $(VENV)/.demo

$(VENV)/.torch: $(VENV)/.test
	@echo "Installing $(TORCH) into $(VENV)"
	@$(PIP) install '$(TORCH)'
	@touch $@

$(VENV)/.check: $(BIN)/python pyproject.toml
	@echo "Installing he_gpu[dev] into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.report: $(BIN)/python pyproject.toml
	@echo "Installing he_gpu[plot] into $(VENV)"
	@$(PIP) install --editable '.[plot]'
	@touch $@ $(VENV)/.demo
