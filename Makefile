# `make` lists what can be done. Everything happens in .venv, which is made on first use.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

DEMO_OUT := build/demo
DEMO := $(BIN)/edgekit fit mbconv --data digits --target local \
	--max-latency 2ms --max-size 1MB --out $(DEMO_OUT) --quick

# Installs a Debian package where that is possible, and says so where it is not. $(1): the package.
define debian_package
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
else false; fi || echo "note: the system package $(1) is missing and could not be installed here"
endef

.DEFAULT_GOAL := help
.PHONY: help demo test lint format browser database providers aarch64 clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## fit a network for this machine on scikit-learn's digits
	$(DEMO)

test: $(VENV)/.installed-test providers browser database aarch64 lint ## every check that CI runs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-test ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-test ## ruff: repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser:
	@command -v chromium >/dev/null || { $(call debian_package,chromium); }

database:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { $(call debian_package,postgresql); }

# Providers that really run on Linux x86-64; elsewhere their tests are skipped with the reason.
providers: $(VENV)/.installed-test
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(BIN)/edgekit devices --install openvino >/dev/null; \
	else echo "note: the OpenVINO provider is not installed on $$(uname -sm)"; fi

# What runs the coder of split networks on another processor, in emulation.
aarch64: $(VENV)/.installed-test
	@command -v qemu-aarch64-static >/dev/null || { $(call debian_package,qemu-user-static); }
	@if [ "$$(id -u) $$(uname -sm)" = "0 Linux x86_64" ] && command -v apt-get >/dev/null; then \
	tests/aarch64.sh .edgekit/aarch64 $(BIN)/python >/dev/null || \
	echo "note: the aarch64 system could not be made: it takes Debian's packages for Python 3.11"; \
	else echo "note: the aarch64 system is made on Debian as root only"; fi

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) .edgekit build edgekit.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "edgekit needs Python 3.11 or newer: install it or set PYTHON="; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# LightGBM's wheel takes the OpenMP runtime from the system (Debian: libgomp1).
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): minutes the first time"
	$(PIP_INSTALL) -e .
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || { $(call debian_package,libgomp1); }
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[test,qnn,litert,ray,postgresql]'
	@touch $@
