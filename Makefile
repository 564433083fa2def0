# `make demo` shows the whole way, `make test` checks it. Both make their own virtual environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start the program a thousand times: compiled once is enough.
unexport PYTHONDONTWRITEBYTECODE
# Three at once on two cores: a third of the time goes by waiting for brokers, disks and processes. A file's tests stay
# together.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile

.PHONY: help demo test check types layers collected bench nightly clean lock wheel deb release audit
# What is released is made with locked tools only.
BUILD := build/venv
DEB := PYTHONPATH=deploy:. $(BUILD)/bin/python -m deb

help:
	@echo "make demo     a broker, sensors, a gateway and a node on this machine, and one reading proved offline"
	@echo "make test     linters, types, layers and all tests"
	@echo "make check    linters, types and layers alone"
	@echo "make bench    the benchmarks; ONLY=ingest runs one"
	@echo "make nightly  the tests that take longer"
	@echo "make deb      Debian packages for amd64 and arm64 in dist/, with their lists of parts; make wheel: wheel and sdist"
	@echo "make release  both, and dist/SHA256SUMS, signed with RELEASE_KEY=FILE"
	@echo "make lock     locks the newest dependencies that pyproject.toml allows; make audit: asks who knows of holes in them"
	@echo "make clean    removes what the others made"

demo: $(VENV)/demo.stamp
	@$(BIN)/fieldgate demo

test: $(VENV)/test.stamp
	@sh tests/tools.sh
	@$(MAKE) --no-print-directory -j 2 types layers collected
	@$(PYTEST)

check: types layers

types: $(VENV)/test.stamp
	@$(BIN)/mypy

layers: $(VENV)/test.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

# Tests are compiled once, beside the linters, and not by each of the three.
collected: $(VENV)/test.stamp
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null

bench: $(VENV)/test.stamp
	@sh tests/tools.sh
	@$(BIN)/python -m tests.bench $(ONLY)

nightly: $(VENV)/test.stamp
	@sh tests/tools.sh nightly
	@$(BIN)/python -m pip install --quiet --editable ".[nightly]" || echo "atheris does not install here: no fuzzing by coverage"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m nightly --hypothesis-profile=night
	@$(PYTEST) --hypothesis-profile=night

lock: $(VENV)/test.stamp
	@PYTHONPATH=deploy $(BIN)/python -m deb lock

wheel: $(BUILD)/stamp
	@$(DEB) wheel

deb: $(BUILD)/stamp
	@$(DEB) build

release:
	@[ -n "$(RELEASE_KEY)" ] || { echo "make release RELEASE_KEY=FILE: docs/release.md says how it is made" >&2; exit 2; }
	@$(MAKE) --no-print-directory wheel deb
	@$(DEB) release "$(RELEASE_KEY)"

audit: $(BUILD)/stamp
	@$(DEB) audit

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BUILD)/stamp: deploy/lock/build.txt deploy/lock/product.txt
	@PYTHON="$(PYTHON)" sh deploy/venv.sh $(BUILD)
	@$(BUILD)/bin/python -m pip install --quiet --require-hashes --only-binary=:all: -r deploy/lock/build.txt -r deploy/lock/product.txt
	@touch $@

$(VENV)/bin/python:
	@PYTHON="$(PYTHON)" sh deploy/venv.sh $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable ".[demo]"
	@touch $@

$(VENV)/test.stamp: $(VENV)/bin/python pyproject.toml
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable ".[demo,test]"
	@touch $@ $(VENV)/demo.stamp
