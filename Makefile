# `make help` lists what there is. Every target that needs the environment makes it first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# What is compiled is kept, also where a machine's default is not to: each command starts sooner.
unexport PYTHONDONTWRITEBYTECODE

CACHE := $(or $(LAKEHOUSE_CACHE),$(HOME)/.cache/lakehouse)
BIN := .venv/bin
LOCKS := requirements/build.txt requirements/embedded.txt
# Whoever shares the Spark session is a group.
IN_PARALLEL := --numprocesses 2 --dist loadgroup
PAGE_LIBRARY := serving/page/vendor/lightweight-charts
checksum = $(shell cat $(1) | cksum | cut -d' ' -f1)

# A machine's own uv is used; where there is none, a locked one goes into the cache.
PRIVATE_UV := $(CACHE)/uv-$(call checksum,requirements/uv.txt)/bin/uv
UV := $(or $(shell command -v uv 2>/dev/null),$(PRIVATE_UV))
COMPILE = $(UV) pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet

# Stamps: what they stand for is done when they are newer than what it was made from.
ENVIRONMENT := .venv/.made-from-locks
JARS := $(CACHE)/jars/.fetched-$(call checksum,infra/artifacts/artifacts.lock)
SERVER_LOCKS := infra/artifacts/artifacts.lock infra/minio/go.sum infra/alertmanager/go.sum \
	requirements/mlflow.txt requirements/airflow.txt lakehouse/distributions/catalogue.py
SERVERS := $(CACHE)/distributions/.fetched-$(call checksum,$(SERVER_LOCKS))
COMPOSE := $(CACHE)/distributions/.fetched-compose-$(call checksum,infra/compose/go.sum)

.PHONY: help setup setup-stack demo test test-stack unit lint chaos bench dashboards page-library \
	compose-check lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: $(ENVIRONMENT) $(JARS) ## Make .venv and fetch the JVM artifacts (once; then instant)
	@:

setup-stack: setup $(SERVERS) ## Fetch the servers of the real stack too (once; then instant)
	@:

demo: setup ## Run the whole loop on recorded trades
	@$(BIN)/lakehouse demo

test: setup ## Run the tests, with real Kafka, Spark and Iceberg
	@$(BIN)/pytest $(IN_PARALLEL) -m "not web and not chaos and not bench and not stack and not airflow"
	@# The browser's driver keeps an event loop in the tests' own thread: others can't have one there.
	@$(BIN)/pytest $(IN_PARALLEL) -m web

test-stack: setup-stack $(COMPOSE) ## Run the tests that need the real stack, on its native servers
	@$(BIN)/pytest -m "stack or airflow"

unit: setup ## Run the tests that need no service (four minutes on two cores)
	@$(BIN)/pytest $(IN_PARALLEL) -m "not exhaustive" tests/unit

lint: $(ENVIRONMENT) ## Check style, types, the imports between rooms, and changes of schemas
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@# Airflow is not in this environment: all that comes from it is of any type.
	@$(BIN)/mypy --allow-subclassing-any --allow-untyped-decorators dags/*.py dags/plugins/*.py
	@$(BIN)/lint-imports
	@$(BIN)/lakehouse schemas check

chaos: setup ## Let everything go wrong while all streams run, and count again
	@$(BIN)/pytest -m chaos

bench: setup ## Measure against peers, one script after the other
	@for script in bench/[a-z]*.py "bench/freshness.py --of positions"; do \
		echo "== $$script"; $(BIN)/python $$script; done

dashboards: $(ENVIRONMENT) ## Build Grafana's dashboards from infra/grafana
	@$(BIN)/python -m infra.grafana.build

page-library: ## Renew the market page's charting library by its lock; needs npm, of no other target
	@build=$$(mktemp -d); trap 'rm -rf "$$build"' EXIT; \
	cp requirements/page/package.json requirements/page/package-lock.json "$$build"; \
	npm ci --prefix "$$build" --ignore-scripts --no-audit --no-fund; \
	cp "$$build"/node_modules/lightweight-charts/LICENSE $(PAGE_LIBRARY); \
	cp "$$build"/node_modules/lightweight-charts/dist/lightweight-charts.standalone.production.mjs \
		$(PAGE_LIBRARY)/lightweight-charts.js
	@sha256sum requirements/page/package-lock.json $(PAGE_LIBRARY)/lightweight-charts.js \
		$(PAGE_LIBRARY)/LICENSE > requirements/page/made.sha256

compose-check: $(ENVIRONMENT) ## Bring the stack up in containers, run the loop on it, take it down
	@docker compose version >/dev/null 2>&1 || $(MAKE) $(COMPOSE)
	@$(BIN)/python -m infra.compose.check $(COMPOSE_CHECK)

lock: $(UV) ## Resolve the dependencies anew and write their versions and hashes
	@$(COMPILE) requirements/uv.in -o requirements/uv.txt
	@$(COMPILE) --override requirements/embedded-without.in --all-extras pyproject.toml \
		-o requirements/embedded.txt
	@$(COMPILE) -c requirements/embedded.txt requirements/build.in -o requirements/build.txt
	@$(COMPILE) --override requirements/mlflow-without.in requirements/mlflow.in -o requirements/mlflow.txt
	@$(COMPILE) requirements/airflow.in -o requirements/airflow.txt

clean: ## Remove the environment and what tools left; the lake and the cache stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Nothing unhashed is fetched: the build tools come from a lock too, and builds are not isolated
# from them; the project itself is installed with the network off.
$(ENVIRONMENT): pyproject.toml $(LOCKS) | $(UV)
	@echo "making .venv (PySpark alone is 400 MB; later runs need no network)"
	@python=$$($(find_python)); $(UV) venv --quiet --allow-existing --python "$$python" .venv
	@$(UV) pip install --python $(BIN)/python --require-hashes --quiet -r requirements/build.txt
	@$(UV) pip sync --python $(BIN)/python --require-hashes --no-build-isolation --compile-bytecode \
		requirements/embedded.txt
	@$(UV) pip install --python $(BIN)/python --offline --no-deps --no-build-isolation \
		--quiet --editable .
	@touch $@

$(JARS): infra/artifacts/artifacts.lock | $(ENVIRONMENT)
	@$(BIN)/lakehouse artifacts fetch
	@touch $@

$(SERVERS): $(SERVER_LOCKS) | $(ENVIRONMENT) $(UV)
	@$(BIN)/lakehouse artifacts fetch --profile stack
	@touch $@

$(COMPOSE): infra/compose/go.sum | $(ENVIRONMENT)
	@$(BIN)/lakehouse artifacts fetch --profile compose
	@touch $@

$(PRIVATE_UV): requirements/uv.txt
	@echo "no uv on this machine: putting the locked one into $(CACHE)"
	@python=$$($(find_python)); rm -rf $(@:/bin/uv=); "$$python" -m venv $(@:/bin/uv=) \
		|| { echo "error: this Python makes no environments; Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	@$(@D)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

# A command named python3.11 may be a version manager's stub, so each candidate must run.
define find_python
for name in $(PYTHON) python3.11 python3 python; do \
	path=$$(command -v "$$name") || continue; \
	"$$path" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || continue; \
	"$$path" -c 'import sys; print(sys.executable)'; exit 0; \
done; \
echo "error: Python 3.11 was not found; install it (Debian 12: apt-get install python3.11 python3.11-venv; macOS: brew install python@3.11) or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1
endef
