# Every target sets itself up: the first call makes .venv from the hash-checked lock, later calls cost nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo up test test-real test-soak lint format bench lock clean

setup: $(STAMP)
	@:

$(STAMP): requirements.lock pyproject.toml
	@echo "setting up $(VENV) (first time: about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@$(BIN)/python -m compileall -q src || true
	@touch $@

demo: setup
	@$(BIN)/fairlead demo

up: setup
	@$(BIN)/fairlead up

test: setup
	@$(BIN)/python -m pytest -n 4 -m "not real and not soak"

test-real: setup
	@$(BIN)/python -m pytest -m real --timeout 900 -p no:cacheprovider

test-soak: setup
	@$(BIN)/python -m pytest -m soak --timeout 1800

lint: setup
	@$(BIN)/ruff check src tests benchmarks tools
	@$(BIN)/ruff format --check src tests benchmarks tools
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff format src tests benchmarks tools
	@$(BIN)/ruff check --fix src tests benchmarks tools

bench: setup
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: setup
	@$(BIN)/pip-compile -q --extra dev --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-header -o requirements.lock pyproject.toml

clean:
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
