# `make` alone prints the targets. Everything lives in .venv; nothing is installed outside of it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# many tests wait for sockets and processes, so there are more workers than cores
PYTEST_ARGS ?= -n 4

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test check bench providers fuzz torture torture-full lock clean

help:  ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: .venv/installed  ## the virtual environment .venv, with .venv/bin/textback

install-dev: .venv/installed-dev

run: .venv/installed  ## start on SQLite with the loopback demo provider, and print a STOP to paste
	@$(BIN)/textback serve --migrate --demo

test: .venv/installed-dev  ## the whole suite, on SQLite and PostgreSQL
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: .venv/installed-dev  ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed-dev  ## requests per second against a bare and a hand-written server, in one run
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

providers: .venv/installed  ## write the page of each provider file anew
	$(BIN)/textback providers --write config/providers

fuzz: .venv/installed-dev  ## five minutes of spoilt samples against every provider file
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

torture: .venv/installed-dev  ## crashes and outages on purpose, under five minutes: is anything lost, doubled, unanswered?
	$(BIN)/python -m tests.torture --short $(TORTURE_ARGS)

torture-full: .venv/installed-dev  ## the same with 200 kills, outages of a minute, 10,000 twins; half an hour
	$(BIN)/python -m tests.torture --full $(TORTURE_ARGS)

lock:  ## write both lock files anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-strip-extras \
		--group build -o requirements.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-strip-extras \
		--group dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:  ## remove what the targets above made, except data/
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
