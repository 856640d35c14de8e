# Few verbs; CI runs the same ones (.ci/run). Everything that needs Python sets it up first.
#   make demo ARGS="…"      options of `paddock demo`
#   make test ARGS="-k …"   options of pytest
#   make bench ONLY=seal,views QUICK=1
#   make fuzz SECONDS=60 ONLY=nvidia,policy
#   make lock ARGS=--upgrade
.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage check bench fuzz docs lock clean

PYTHON ?=
BIN := .venv/bin
ARGS ?=
ONLY ?=
QUICK ?=
SECONDS ?= 60

help: ## these lines
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-7s %s\n", $$1, $$2 }'

setup: ## make .venv with every pinned package
	@PYTHON='$(PYTHON)' sh scripts/setup.sh

demo: setup ## five parties, one contract, one confidential training, in front of your eyes
	@$(BIN)/paddock demo $(ARGS)

test: setup ## all tests
	@$(BIN)/python -m scripts.run_tests $(ARGS)

coverage: setup ## all tests, counting the lines that run
	@$(BIN)/python -m scripts.run_tests --coverage

check: setup ## lint, format, types, walls, generated documents
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m docs.generate --check

bench: setup ## figures with their baselines; writes build/bench.json
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(ARGS)

fuzz: setup ## feed every parser SECONDS of hostile bytes; keeps what it learns in build/fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY)) $(ARGS)

docs: setup ## write the documents that are made from the code
	@$(BIN)/python -m docs.generate

lock: ## pin every package again (needs uv)
	@ARGS='$(ARGS)' sh scripts/lock.sh

clean: ## remove what was built, .venv included
	rm -rf .venv build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
