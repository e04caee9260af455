# Everything a fresh machine needs beside Python, git and make is set up by the targets themselves.
.DEFAULT_GOAL := help
PYTHON ?= python3
UV := .uv/bin/uv
RUN := $(UV) run --no-sync

help: ## Tell what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(UV):
	@echo "setting up: uv"
	@$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv

.venv/.ready: $(UV) pyproject.toml uv.lock
	@echo "setting up: llmatrix and what it needs"
	@$(UV) sync --frozen --quiet --compile-bytecode --inexact --extra tokenizers && touch $@

setup: .venv/.ready ## Make the virtual environment

engine: .venv/.ready ## Add a real llama.cpp server for its tests (built here: minutes, a C++ compiler)
	@LLAMA_CPP_BUILD_JOBS=$$(nproc) $(UV) sync --frozen --quiet --compile-bytecode --all-extras

demo: .venv/.ready ## Run the quickstart on the embedded engine and name its report
	@$(RUN) llmatrix run examples/quickstart.yaml
	@$(RUN) llmatrix report examples/results/quickstart

test: .venv/.ready ## Pass every test that needs no cluster
	@$(RUN) pytest -n 2

e2e: .venv/.ready ## Pass the tests that need a real Kubernetes with Tekton; brings one up
	@$(RUN) pytest tests/e2e -m "not long"

e2e-all: .venv/.ready ## The same with the long ones: faults, and a real Gateway, picker and Envoy
	@$(RUN) python -m tools.devcluster add gateway llm-d
	@$(RUN) pytest tests/e2e

cluster-up: .venv/.ready ## Bring up a real Kubernetes with Tekton on this machine (Linux, root)
	@$(RUN) python -m tools.devcluster up

cluster-down: .venv/.ready ## End the cluster; what it stored stays
	@$(RUN) python -m tools.devcluster down

lint: .venv/.ready ## Check style, types and the direction of imports
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy
	@$(RUN) lint-imports

.PHONY: help setup engine demo test e2e e2e-all cluster-up cluster-down lint
