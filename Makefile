# Two commands need nothing but Python 3.11+, pip and make: `make demo` and `make test`. Each sets itself up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-cluster cluster cluster-stop lint types walls wheel bench lock clean help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check --quiet
DEMO := build/demo
SOURCES = $(shell find scheduler cli pytest_integration migrations -type f -not -name '*.pyc') pyproject.toml README.md

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO)/.installed ## see the whole idea work, on an embedded cluster (needs no Kubernetes)
	@$(DEMO)/bin/cleanup-cli demo

test: $(VENV)/.installed ## every test that needs no cluster of yours, the ledger on SQLite and on PostgreSQL
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-cluster: $(VENV)/.installed ## the cluster tests on a real Kubernetes (CLEANUP_SCHEDULER_TEST_KUBECONFIG names yours)
	@CLEANUP_SCHEDULER_TEST_CLUSTER=real $(BIN)/python -m pytest -n auto --dist loadscope $(CLUSTER_TESTS) $(ARGS)

cluster: $(VENV)/.installed ## build what is missing, then start a real control plane and (Linux, root) a real node
	@$(BIN)/python -m tools.cluster up

cluster-stop: $(VENV)/.installed ## stop it; nothing stays behind
	@$(BIN)/python -m tools.cluster down

lint: $(VENV)/.installed ## ruff, lint and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.installed ## mypy, strict over everything
	@$(BIN)/mypy

walls: $(VENV)/.installed ## the import contracts between the rooms
	@$(BIN)/lint-imports --no-cache

wheel: $(VENV)/.installed ## build the wheel into dist/
	@rm -rf dist && $(BIN)/python $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

lock: ## resolve the hash-locked requirements anew (needs uv)
	@for set in dev run; do \
	  group=$$([ $$set = dev ] && echo "--group dev" || echo "--group build"); \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url $$group --extra postgres -o requirements/$$set.txt pyproject.toml; done

clean: ## remove what the commands above made
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

CLUSTER_TESTS := tests/contracts tests/clusters tests/cluster tests/engine tests/acceptance

# ---- set-up -------------------------------------------------------------------------------------------------
define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=python3.12, say." >&2; exit 2; }
@echo "setting up $(1) (once, about a minute)" >&2
@[ -x $(1)/bin/pip ] || $(PYTHON) -m venv --clear $(1)
endef

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	$(call make_venv,$(VENV))
	@$(BIN)/python $(PIP) install --require-hashes -r requirements/dev.txt
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEMO)/.requirements: requirements/run.txt
	$(call make_venv,$(DEMO))
	@$(DEMO)/bin/python $(PIP) install --require-hashes -r requirements/run.txt
	@touch $@

$(DEMO)/.installed: $(DEMO)/.requirements $(SOURCES)
	@rm -rf build/wheel
	@$(DEMO)/bin/python $(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheel .
	@$(DEMO)/bin/python $(PIP) install --no-deps --force-reinstall build/wheel/*.whl
	@touch $@
