# A thin layer over the command line; `make help` lists the targets. On a fresh Debian or Ubuntu, first:
#   apt-get install python3-venv make
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
HOLDFAST := $(VENV)/bin/holdfast
CONFIG ?= examples/demo.yaml
OUT ?= out
PROFILE ?= sandbox
ARGS ?=
# trixie has Slurm 24.11, sid the newest.
RELEASE ?= trixie
DEMO := demo
# Tests wait for Slurm more than they compute.
WORKERS ?= 4

.PHONY: help setup demo test test-quick test-slurm test-nfs run submit status aggregate sandbox-up sandbox-down slurm-install lint format bench bench-gpu docs chaos chaos-mutants clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
	@echo "variables: CONFIG=$(CONFIG) OUT=$(OUT) PROFILE=$(PROFILE) RELEASE=$(RELEASE) ARGS=..."

setup: $(VENV)/.ready  ## create .venv with pinned versions

# torch comes pinned and by itself: a looser requirement may fetch gigabytes of CUDA libraries. All else has hashes.
# TORCH_INDEX: a further index for torch alone; files of others there need not be those that the hashes are of.
# triton: builds of torch for CUDA bring theirs; beside one for CPUs, the tests interpret and compile with the pinned one.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "needs Python 3.11 or newer with venv: apt-get install python3-venv (or PYTHON=/path/to/python3.11)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	sed '/^torch==/d; /^triton==/,/[^\\]$$/d' constraints.txt > $(VENV)/hashed.txt
	sed -n '/^triton==/,/[^\\]$$/p' constraints.txt > $(VENV)/triton.txt
	$(VENV)/bin/pip install --quiet --require-hashes --no-deps --requirement $(VENV)/hashed.txt
	$(VENV)/bin/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $$(grep '^torch==' constraints.txt)
	$(VENV)/bin/python -c 'import triton' 2> /dev/null \
	  || $(VENV)/bin/pip install --quiet --require-hashes --no-deps --requirement $(VENV)/triton.txt
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	$(VENV)/bin/pip check > /dev/null
	@touch $@

demo: setup  ## run a small sweep here, with statistics, plots and a report
	$(HOLDFAST) data generate $(DEMO)/data --train 16000 --val 1000 --test 1000 --seed 1
	$(HOLDFAST) run --config examples/demo.yaml --output-dir $(DEMO)/out
	@echo "open $(DEMO)/out/report.html"

test: setup  ## run all tests, including those on a real Slurm cluster (see slurm-install): half an hour on two cores
	@echo "running all tests: about half an hour on two cores, longer where they are busy"
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal $(ARGS)

# The tests of single modules: no whole commands, clusters, kills or W&B client.
QUICK := tests/hpc tests/aggregate tests/training tests/docs

test-quick: setup  ## run the tests of single modules after each edit: at most two minutes on two idle cores
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal -m "not slurm and not command and not slow" $(QUICK) $(ARGS)

test-slurm: setup  ## run the Slurm tests with the Slurm of another Debian RELEASE, in a chroot (root; mmdebstrap)
	tests/releases/in_chroot.sh $(RELEASE) tests/releases/slurm_tests.sh -n $(WORKERS) --dist worksteal $(ARGS)

test-nfs: setup  ## run the tests of files and sweeps on a kernel NFS server with two clients (root; mmdebstrap)
	tests/releases/in_chroot.sh trixie tests/releases/nfs.sh $(ARGS)

chaos: setup  ## test crash safety under thousands of faults (80 minutes beside other work; ARGS="--seed S --minutes M --only PART")
	PYTHONPATH=tests $(VENV)/bin/python -m chaos.run $(ARGS)

chaos-mutants: setup  ## break rules on purpose and check that the chaos suite notices
	PYTHONPATH=tests $(VENV)/bin/python -m chaos.mutants $(ARGS)

run: setup  ## holdfast run --config CONFIG --output-dir OUT
	$(HOLDFAST) run --config $(CONFIG) --output-dir $(OUT) $(ARGS)

submit: setup  ## holdfast submit --config CONFIG --profile PROFILE --output-dir OUT
	$(HOLDFAST) submit --config $(CONFIG) --profile $(PROFILE) --output-dir $(OUT) $(ARGS)

status: setup  ## holdfast status OUT
	$(HOLDFAST) status $(OUT) $(ARGS)

aggregate: setup  ## holdfast aggregate OUT
	$(HOLDFAST) aggregate $(OUT) $(ARGS)

sandbox-up: setup  ## start a real Slurm cluster on this machine
	$(HOLDFAST) sandbox up $(ARGS)

sandbox-down: setup  ## stop it
	$(HOLDFAST) sandbox down

slurm-install:  ## install the Debian or Ubuntu packages that the sandbox and its tests need
	@run=; [ "$$(id -u)" = 0 ] || run=sudo; \
	$$run apt-get update -qq && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge

lint: setup  ## check the code with ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup  ## format the code with ruff
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: setup  ## measure training, starts and aggregation beside alternatives, also in bench*.json (ARGS=--avx2: without AVX-512)
	$(VENV)/bin/python -m benchmarks.training --json bench.json $(ARGS)
	$(VENV)/bin/python -m benchmarks.start --json bench-start.json
	$(VENV)/bin/python -m benchmarks.small_cells --rounds 1 --json bench-small-cells.json
	$(VENV)/bin/python -m benchmarks.aggregation --cells 10000 --json bench-aggregation.json

bench-gpu: setup  ## measure everything that is to be seen on a GPU, also in gpu.json and gpu.md (ARGS="--parts speed")
	$(VENV)/bin/python -m benchmarks.gpu $(ARGS)

docs: setup  ## build the documentation into site/; a broken link is an error
	$(VENV)/bin/mkdocs build --strict --quiet
	@echo "open site/index.html"

clean:  ## remove the demo, caches, chroots and .venv
	rm -rf .cache $(DEMO) site $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
