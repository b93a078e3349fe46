# softsgx: every command that a person or CI needs.  Start with `make demo`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUNS   ?= 3
# How many tests run at once: as many as there are processors; 0: one after another.
TESTS_AT_ONCE ?= auto
FUZZ_SECONDS ?= 60
MINUTES ?= 10
RUNS_AT_ONCE ?= 1 10 100

# The last line of a run is the program's, not make's.
MAKEFLAGS += --no-print-directory

.PHONY: help venv build check format lint types layers house spelling unit test \
	selftest selftest-20 demo bench fuzz soak soak-programs chaos scale clean

help:
	@echo 'make demo         set up, build, run an example enclave'
	@echo 'make test         everything that CI runs'
	@echo 'make check        the part of it that needs no kernel source (minutes)'
	@echo 'make bench        the figures of this machine'
	@echo 'make fuzz         random programs against softsgx for FUZZ_SECONDS (60)'
	@echo 'make soak         the laws of the model over SOAK_STEPS steps (1000000: 20 minutes)'
	@echo 'make soak-programs  programs on an EPC a tenth of their needs, killed at random, for MINUTES (10)'
	@echo 'make chaos        the conformance programs, their EPC pages evicted all the time, for MINUTES (10)'
	@echo 'make scale        what a page costs in EPCs of 1 MiB to 1 TiB, among 1 to 5000 enclaves, a run on a daemon'
	@echo 'make selftest-20  the kernel selftests, 20 times each'
	@echo 'make clean        remove what was built (not the environment)'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'softsgx: needs Python 3.11 or newer (apt-get install python3)'; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo 'softsgx: Python has no venv (apt-get install python3-venv)'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

venv: $(STAMP)

build: venv
	@command -v $(CC) >/dev/null || \
	  { echo 'softsgx: needs a C compiler (apt-get install gcc libc6-dev)'; exit 1; }
	$(MAKE) -C native PYTHON=$(abspath $(BIN)/python)
	@cmp -s build/native/softsgx $(BIN)/softsgx || \
	  { cp build/native/softsgx $(BIN)/softsgx.new && mv $(BIN)/softsgx.new $(BIN)/softsgx; }
	@$(BIN)/python -m compileall -q src

format: venv
	$(BIN)/ruff format --check .

lint: venv
	$(BIN)/ruff check .
	$(BIN)/vulture

types: venv
	$(BIN)/mypy

layers: venv
	$(BIN)/lint-imports

house: build
	$(BIN)/pytest -q tests/house

spelling: venv
	$(BIN)/codespell

unit: build
	$(BIN)/pytest -q -n $(TESTS_AT_ONCE) --maxprocesses 8 \
	  --ignore=tests/house --ignore=tests/acceptance tests

# One after another, cheapest first: a misplaced comma should not wait for the tests.
check: build
	$(MAKE) format
	$(MAKE) lint
	$(MAKE) types
	$(MAKE) layers
	$(MAKE) house
	$(MAKE) spelling
	$(MAKE) unit

selftest: build
	SELFTEST_RUNS=$(RUNS) $(BIN)/pytest -q -s tests/acceptance

selftest-20: build
	SELFTEST_RUNS=20 SELFTEST_EXACT_RUNS=20 $(BIN)/pytest -q -s tests/acceptance

test: check
	$(MAKE) selftest

demo: build
	$(MAKE) -C examples/hello SOFTSGX=$(abspath $(BIN)/softsgx)
	$(BIN)/softsgx run -- examples/hello/hello

fuzz: build
	$(BIN)/python -m tests.fuzz.harness --seconds $(FUZZ_SECONDS) $(FUZZ_OPTIONS)

soak: venv
	$(BIN)/python -m tests.model.soak

soak-programs: build
	SOAK_MINUTES=$(MINUTES) $(BIN)/python -m tests.soak.programs

chaos: build
	CHAOS_MINUTES=$(MINUTES) $(BIN)/python -m tests.chaos.programs

scale: build
	$(BIN)/python -m tests.scale.figures
	$(BIN)/python -m tests.scale.runs $(RUNS_AT_ONCE)

bench: build
	$(BIN)/softsgx bench

clean:
	-$(MAKE) -C native clean
	-$(MAKE) -C examples/hello clean
	-$(MAKE) -C examples/launch clean
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
