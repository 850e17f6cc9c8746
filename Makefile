.PHONY: help setup demo test test-long check format docs clean
SHELL := /bin/sh
export OMP_NUM_THREADS ?= 1

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/ready ## make .venv with all that is needed

.venv/ready: pyproject.toml constraints.txt tools/setup.sh
	sh tools/setup.sh

demo: setup ## run the quickstart sweep and write its page
	.venv/bin/s1sweep run -m experiment=quickstart

test: check ## what CI runs: style, types and every test but the long ones
	@# Files side by side in two processes: each shares one engine, one Ray and one store among its tests.
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: setup ## chaos rounds and simulations
	@# A file a process: Ray reads once in a process whether it talks with tokens.
	@failed=; for file in $$(grep -l pytest.mark.long tests/test_*.py); do \
		echo "$$file"; .venv/bin/python -m pytest -m long "$$file" || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

check: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

docs: setup ## build the site into build/site; a broken link fails
	.venv/bin/python -m mkdocs build --quiet
	@echo "build/site/index.html"

format: setup ## mend style
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

clean: ## remove what the tools left
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
