# What a developer types, and what CI types. Every target sets up what it needs: uv when
# it is missing, a Python 3.13, and the environment from the lock (see scripts/uv).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV := scripts/uv
RUN := $(UV) run --frozen
PROFILE ?= local

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "; print "make …"} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: ## start the gateway, a store and stand-in providers; prints a key and a curl line
	@$(RUN) python -m scripts.dev $(ARGS)

.PHONY: demo
demo: ## watch requests being answered while the first provider is killed and comes back
	@$(RUN) python -m scripts.demo $(ARGS)

.PHONY: test
test: tools ## run the whole test suite, with coverage
	@$(RUN) pytest -n auto --cov --cov-report=term:skip-covered --cov-fail-under=95 $(ARGS)

.PHONY: check
check: tools ## lint, format, types, contracts, dead code, secrets, manifests, generated files
	@$(RUN) python -m scripts.check $(ARGS)

.PHONY: fmt
fmt: ## format the code and mend what can be mended
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

.PHONY: openapi
openapi: ## write openapi.yaml and the dashboards anew from the code
	@$(RUN) gateway openapi > openapi.yaml.new && mv openapi.yaml.new openapi.yaml
	@$(RUN) python -m scripts.dashboards

.PHONY: bench
bench: ## measure what the resilience layers cost per call
	@$(RUN) python -m loadtest.bench.resilience $(ARGS)

.PHONY: chaos
chaos: ## run the chaos experiments with Toxiproxy and k6, and write chaos/report/index.html
	@$(RUN) python -m scripts.chaos --profile $(PROFILE) $(ARGS)

.PHONY: tools
tools: ## find or build the tools that are no Python packages: k6, Toxiproxy, actionlint
	@for tool in toxiproxy-server actionlint k6; do scripts/tools.sh $$tool > /dev/null; done
	@command -v kubectl > /dev/null || scripts/tools.sh kustomize > /dev/null

.PHONY: clean
clean: ## remove environments, caches, built tools and reports
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -rf .coverage .coverage.* htmlcov coverage.xml chaos/report loadtest/results dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
