# `make quickstart` and `make test` are all that a newcomer needs; both create .venv by themselves.

PYTHON ?= python3
PYTEST_ARGS ?=
# Two processes of one thread each: twice as fast on two cores as one process of two threads.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -q -rs -n 2 --dist loadfile

VENV := .venv
PY := $(VENV)/bin/python
ORIGINAL := .venv-original
ORIGINAL_PY := $(ORIGINAL)/bin/python
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check -c requirements/lock.txt

# Waiting threads sleep instead of spinning: several times faster where other programs use the cores.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow test-original fuzz-bf16 fuzz-files wheel check lint format docs linkcheck clean
.DELETE_ON_ERROR:

help:
	@echo "make quickstart   train, test and time a gated ResNet-20 on real digits (a few minutes)"
	@echo "make test         run the test suite            (PYTEST_ARGS='-k gate' to choose)"
	@echo "make test-slow    run the tests of more than 30 seconds, such as twenty kills in a row"
	@echo "make test-original  the same suite on the original OpenMMLab packages; compiles mmcv"
	@echo "make wheel        build a wheel with the compiled kernels, for users without a compiler"
	@echo "make lint         check format, lint and types with pinned tools"
	@echo "make check        make lint, then make test: what continuous integration runs"
	@echo "make docs         build the documentation site, docs/_build/html/docs/index.html"
	@echo "make linkcheck    follow the external links of the documentation (needs a network)"
	@echo "make format       write the format and the lint fixes that are safe"
	@echo "make clean        remove caches and build output; .venv and work_dirs stay"
	@echo "PYTHON=python3.12 names the interpreter that .venv is made from (now: $(PYTHON))"

quickstart: $(VENV)/.installed
	@$(PY) tools/quickstart.py

test: $(VENV)/.installed
	@$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/.installed
	@$(PYTEST) -m slow $(PYTEST_ARGS)

test-original: $(ORIGINAL)/.installed
	@OMP_NUM_THREADS=1 $(ORIGINAL_PY) -m pytest -q -rs -n 2 --dist loadfile -m "not slow" $(PYTEST_ARGS)

# A minute of lint before minutes of tests.
check: lint
	@$(MAKE) --no-print-directory test

# The kernels on random networks, and the reader of runtime files on damaged ones, under sanitizers.
fuzz-bf16:
	@sh tests/sliced/native_bf16/fuzz.sh

# With the kernels compiled for the machine's baseline; the wheel chooses among them where it runs.
wheel: $(VENV)/.installed
	@MMBAS_WHEEL_LIBRARY=1 $(PY) -m pip wheel . --no-deps --no-build-isolation -q -w dist
	@ls dist/mmbas-*.whl

# FILE is any file of tools/export_runtime.py.
fuzz-files:
	@test -n "$(FILE)" || { echo "expected a runtime file: make fuzz-files FILE=network.mmbas"; exit 1; }
	@cmake -S . -B build/fuzz -DMMBAS_FUZZ=ON -DMMBAS_EXAMPLES=OFF -DCMAKE_BUILD_TYPE=Debug > /dev/null
	@cmake --build build/fuzz --parallel > /dev/null
	@OMP_WAIT_POLICY=PASSIVE build/fuzz/fuzz_files $(FILE) $(COPIES)

lint: $(VENV)/.installed-dev
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

format: $(VENV)/.installed-dev
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

# A warning is an error: a link that leads nowhere, a page that no menu has, a docstring that does not read.
docs: $(VENV)/.installed-docs
	@$(PY) -m sphinx -q -W --keep-going -b html -c docs . docs/_build/html
	@echo "docs/_build/html/docs/index.html"

linkcheck: $(VENV)/.installed-docs
	@$(PY) -m sphinx -q -b linkcheck -c docs . docs/_build/linkcheck

clean:
	rm -rf docs/_build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . \( -path ./$(VENV) -o -path ./$(ORIGINAL) \) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A half-made environment is removed: the next run would take it for a whole one.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "expected Python 3.10 or newer, got $(PYTHON) = $$($(PYTHON) -V 2>&1);" \
	    "name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Packages first by themselves, so that the long download is announced before it starts.
$(VENV)/.installed: setup.py pyproject.toml requirements/lock.txt | $(PY)
	@echo "[1/2] Installing PyTorch into $(VENV): with the CUDA libraries of its Linux wheel" \
	  "some 3 GB, this takes minutes"
	@$(PIP_INSTALL) torch torchvision
	@echo "[2/2] Installing mmbas, the OpenMMLab packages and the test tools: about a minute"
	@$(PIP_INSTALL) -e '.[openmmlab,detection,quickstart,test]'
	@$(PIP_INSTALL) --no-deps onedl-mmdetection imaug
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing ruff, mypy and pre-commit into $(VENV)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing Sphinx into $(VENV)"
	@$(PIP_INSTALL) -e '.[docs]'
	@touch $@

$(ORIGINAL_PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' || { \
	  echo "expected Python 3.10 or 3.11, the last that torch 2.1 has wheels for, got" \
	    "$(PYTHON) = $$($(PYTHON) -V 2>&1);" \
	    "name another one: make PYTHON=python3.11 test-original" >&2; exit 1; }
	@$(PYTHON) -m venv $(ORIGINAL) || { rm -rf $(ORIGINAL); exit 1; }

$(ORIGINAL)/.installed: requirements/original.txt setup.py | $(ORIGINAL_PY)
	@echo "[1/2] Installing torch 2.1 and the original OpenMMLab packages into $(ORIGINAL)"
	@$(ORIGINAL_PY) -m pip install -qq --disable-pip-version-check -r requirements/original.txt
	@echo "[2/2] Compiling mmcv with its operators, which mmsegmentation imports: up to an hour"
	@PATH="$(CURDIR)/$(ORIGINAL)/bin:$$PATH" MMCV_WITH_OPS=1 $(ORIGINAL_PY) -m pip install -qq \
	  --disable-pip-version-check --no-build-isolation -c requirements/original.txt mmcv==2.1.0
	@$(ORIGINAL_PY) -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@
