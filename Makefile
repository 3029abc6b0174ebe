# `make demo` and `make test` install what they need, as `make install` does, into .venv first; re-runs start at once.
OUT ?= outputs/demo
SEED ?= 0
SECONDS ?= 600
RUN := .venv/bin/

export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test fuzz docs lint format

help:
	@echo "make install                  install TempoVLA with all extras into .venv, which the others do first"
	@echo "make demo [OUT=DIR] [SEED=N]  collect, train, evaluate and report in DIR (outputs/demo)"
	@echo "make test                     lint, types, import contracts, the documentation and all tests"
	@echo "make fuzz [SECONDS=600]       damage files of every kind at random (SEED=N), and keep what fails in outputs/fuzz"
	@echo "make lint                     the first three of these"
	@echo "make docs                     the documentation with the API reference as a site in site/; a warning is an error"
	@echo "make format                   let ruff format and mend the code"

install: .venv/installed

demo: .venv/installed
	@$(RUN)tempovla demo --out "$(OUT)" --seed "$(SEED)"

test: lint docs
	$(RUN)pytest -n 2 --dist worksteal

fuzz: .venv/installed
	$(RUN)python -m tests.fuzz --seconds "$(SECONDS)" --seed "$(SEED)" --failures outputs/fuzz

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(RUN)mkdocs build --strict

lint: .venv/installed
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)lint-imports

format: .venv/installed
	$(RUN)ruff check --fix .
	$(RUN)ruff format .

.venv/installed: pyproject.toml constraints.txt scripts/set_up.sh
	@scripts/set_up.sh
