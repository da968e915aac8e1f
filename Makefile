# SPDX-License-Identifier: Apache-2.0
# make demo   sets up .venv with the project and runs the demo
# make test   sets up nox and runs every check; `make test S="core lint"` runs some
# make collector   builds the Collector that the tests use, once, and prints its path as the last line (needs Go)
# make fuzz   100,000 inputs on the wire of a server of each generation
# make stress   20,000 interleaved calls on each stack
# make coverage-page   runs the coverage matrix on every stack and writes docs/coverage.md
# make faults   plays the fault table, the stock pipeline beside ours, and writes docs/faults.md (20 minutes)
# make performance   each sink's throughput through the Collector, the SQL sink beside COPY; writes docs/performance.md
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python3.14 $(wildcard /usr/bin/python3); do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# A caller's Python settings stay out of the environments made here, and no interpreter is fetched.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS := never

.PHONY: test lint bench crash-states kills demo collector coverage-page faults performance fuzz stress clean
.DEFAULT_GOAL := test

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.10 or later with venv and ensurepip on PATH" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/nox.stamp: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "nox[uv]>=2025.5.1"
	@touch $@

$(VENV)/project.stamp: $(BIN)/python pyproject.toml
	@echo "installing the project and what it needs into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]"
	@touch $@

test: $(VENV)/nox.stamp
	$(BIN)/nox $(if $(S),-s $(S))

fuzz: $(VENV)/nox.stamp
	MCP_AUDIT_FUZZ=100000 $(BIN)/nox -s fuzz

stress: $(VENV)/nox.stamp
	MCP_AUDIT_STRESS=20000 $(BIN)/nox -s stacks -- -k of_the_call_that_the_client_made

coverage-page: $(VENV)/nox.stamp
	$(BIN)/nox -s stacks coverage_page

lint: $(VENV)/nox.stamp
	$(BIN)/nox -s lint

# The whole of what the tests run a share of: `make kills KILLS=500 RESTARTS=1000 SEED=7` (these, and a random seed, if not told).
kills: $(VENV)/nox.stamp
	$(BIN)/nox -s kills -- $(or $(KILLS),500) $(or $(RESTARTS),1000) $(SEED)

demo: $(VENV)/project.stamp
	$(BIN)/otel-mcp-audit demo

collector:
	@collector-config/distribution/build.sh

faults: $(VENV)/nox.stamp
	$(BIN)/nox -s faults $(if $(A),-- $(A))

performance: $(VENV)/nox.stamp
	$(BIN)/nox -s performance $(if $(A),-- $(A))

bench: $(VENV)/project.stamp
	$(BIN)/python benchmarks/call_cost.py
	$(BIN)/python benchmarks/taps.py

# Every state that a crash may leave of the scripted histories, and the way back from each: half an hour or so.
# `make crash-states SEED=7` for another seed.
crash-states: $(VENV)/project.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "rfc8785 == 0.1.4"
	$(BIN)/python tests/crash/campaign.py $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) .nox .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
