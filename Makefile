# `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate --upgrade

# What `make images` builds, and under which names (deploy/images/Dockerfile).
TARGETS := auth quota inference edge cli
IMAGE_PREFIX ?= localhost/muhgpt
TAG ?= dev
BASE_IMAGE ?= docker.io/library/python:3.11-slim
# More extras that every image gets.
IMAGE_EXTRAS := otel

# A long suite writes its row in docs/verification.md when it runs whole, without ARGS; run-SUITE runs it without that.
RECORD := $(BIN)/python -m tests.verification record

.DEFAULT_GOAL := help
.PHONY: help setup run test test-beside test-faults test-hostile test-long test-training run-test-training conformance golden faults hostile upgrade-test bench bench-path bench-growth bench-engine bench-upstream vllm-check lint proto lock image-locks images k8s-check k8s-smoke standin-smoke conformance-lock bench-lock resolve-check run-test-long run-conformance run-faults run-hostile run-upgrade-test run-bench-path

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 20

setup: .venv/installed ## makes the environment in .venv, every package pinned by requirements.lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo 'making the environment in .venv' >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## starts everything on this machine and prints a key (ARGS="--port 8080" passes options)
	@$(BIN)/muhgpt up $(ARGS)

# Half as many again as there are cores: tests wait for processes, wires and deadlines.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 3 / 2)

# A folder, unless ARGS names what to run.
below = $(if $(findstring tests/,$(ARGS)),,$(1))

# tests/tiers.py says which tests are in which part, and in which tier. The parts never run at once, not even with make -j.
# Exit code 5: of one of them, ARGS selects nothing.
test: setup ## the tests that CI runs, in three parts: side by side, faults, attacks
	@for part in beside faults hostile; do $(MAKE) --no-print-directory test-$$part || exit 1; done

test-beside: setup ## the first part: unit, contract, integration and end-to-end tests
	TEST_TIER=short TEST_PART=beside $(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS) || [ $$? -eq 5 ]

# They wait more than they compute: a worker for SQLite, and one for PostgreSQL with and without replicas. On a machine that
# others use, FAULT_WORKERS=1 runs one cluster at a time.
FAULT_WORKERS ?= 2

test-faults: setup ## the second: faults, each guarantee once
	TEST_TIER=short TEST_PART=faults $(BIN)/pytest -n $(FAULT_WORKERS) --dist loadgroup $(call below,tests/faults) $(ARGS) || [ $$? -eq 5 ]

test-hostile: setup ## the third: attacks and fuzzing, a minute each
	TEST_TIER=short TEST_PART=hostile $(BIN)/pytest $(call below,tests/hostile) $(ARGS) || [ $$? -eq 5 ]

test-long: setup ## what repeats at more cost what CI asserts already (about 5 minutes)
	@$(RECORD) test-long "$(ARGS)" $(MAKE) --no-print-directory run-test-long

test-training: setup ## the tests of training/, which made the shipped model: CI runs them when a file there has changed
	@$(RECORD) test-training "$(ARGS)" $(MAKE) --no-print-directory run-test-training

run-test-training: setup
	$(BIN)/pytest -q -n auto -c training/pyproject.toml training/tests $(ARGS)

run-test-long: setup
	TEST_TIER=long $(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

conformance: setup ## clients that nobody here wrote against a running platform (ARGS="Node pydantic" runs those)
	@$(RECORD) conformance "$(ARGS)" $(MAKE) --no-print-directory run-conformance

run-conformance: setup
	@$(BIN)/python -m tests.conformance.run $(ARGS)

golden: setup ## records the transcripts in tests/golden anew; read the diff before you commit it
	RECORD_GOLDEN=1 $(BIN)/pytest -q tests/golden

faults: setup ## the whole stress suite: crashes, partitions, races, on SQLite and PostgreSQL (about 20 minutes)
	@$(RECORD) faults "$(ARGS)" $(MAKE) --no-print-directory run-faults

run-faults: setup
	MUHGPT_FAULTS=long MUHGPT_TEST_EXAMPLES=200 MUHGPT_TEST_HISTORY=1000000 \
		$(BIN)/pytest tests/faults tests/integration/quota/test_history.py $(ARGS)
	TEST_OVERCHARGING=all $(BIN)/pytest tests/e2e/test_overcharging.py

hostile: setup ## attacks on the running platform beside a client that measures, and ten minutes of fuzzing (about 30 minutes)
	@$(RECORD) hostile "$(ARGS)" $(MAKE) --no-print-directory run-hostile

run-hostile: setup
	HOSTILE_LONG=1 FUZZ_SECONDS=480 $(BIN)/pytest tests/hostile $(ARGS)
	MUHGPT_TEST_EXAMPLES=3000 $(BIN)/pytest --timeout 600 tests/integration/inference/test_upstream_fuzz.py \
		tests/integration/inference/test_upstream_http_oracle.py tests/unit/inference/test_answer_parser.py \
		tests/unit/edge/http/test_body_costs.py

upgrade-test: setup ## the version before this one beside this one, under load (6 minutes; ARGS="sqlite" runs those)
	@$(RECORD) upgrade-test "$(ARGS)" $(MAKE) --no-print-directory run-upgrade-test

run-upgrade-test: setup
	@$(BIN)/python -m tests.upgrade.run $(ARGS)

resolve-check: setup ## whether every long suite is green on the files as they are: before an issue is resolved
	@$(BIN)/python -m tests.verification check

bench: setup ## reserve + settle pairs a second through the store and the stream
	$(BIN)/python bench/ledger.py $(ARGS)

bench-path: setup .litellm/installed ## CPU per request and per event, beside LiteLLM's proxy (10 minutes; ARGS="--only burst" runs those)
	@$(RECORD) bench-path "$(ARGS)" $(MAKE) --no-print-directory run-bench-path

run-bench-path: setup .litellm/installed
	@$(BIN)/python -m bench.path --litellm .litellm $(ARGS)

.litellm/installed: bench/path/litellm.lock
	@echo 'making the environment of LiteLLM in .litellm' >&2
	@$(PYTHON) -m venv .litellm
	@.litellm/bin/pip install --quiet --disable-pip-version-check --require-hashes -r bench/path/litellm.lock
	@touch $@

bench-growth: setup ## what operations cost from a thousand accounts to a million, with the fits (10 minutes)
	$(BIN)/python -m bench.growth $(ARGS)

bench-engine: setup ## output tokens per CPU second of the engine, in the platform and alone (about 2 minutes)
	$(BIN)/python bench/engine.py $(ARGS)

bench-upstream: setup ## CPU of our HTTP client for upstreams beside aiohttp's (a minute)
	PYTHONPATH=. $(BIN)/python bench/upstream_http.py $(ARGS)

vllm-check: setup ## what is counted for upstreams against a real vLLM (7 minutes and 4 GB the first time)
	@$(BIN)/python -m tests.vllm.run $(ARGS)

lint: setup ## style, types, import rules, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check

proto: setup ## regenerates gen/ from protos/
	$(BIN)/python protos/generate.py

lock: setup ## resolves pyproject.toml anew into requirements.lock (needs uv on the PATH)
	$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	$(MAKE) image-locks

image-locks: ## the part of requirements.lock that each image needs (needs uv on the PATH)
	for target in $(TARGETS); do \
		$(COMPILE) --extra $$target $(addprefix --extra ,$(IMAGE_EXTRAS)) --constraints requirements.lock pyproject.toml \
			-o deploy/images/requirements-$$target.lock || exit 1; \
	done
	printf 'setuptools>=77\n' | $(COMPILE) --constraints requirements.lock - -o deploy/images/requirements-build.lock

images: ## builds the images with docker or podman (IMAGE_PREFIX, TAG and BASE_IMAGE name them)
	@IMAGE_PREFIX='$(IMAGE_PREFIX)' TAG='$(TAG)' BASE_IMAGE='$(BASE_IMAGE)' deploy/images/build $(TARGETS)

k8s-check: setup ## renders the Kubernetes overlays and checks them; with KUBECONFIG also as a server's dry run
	$(BIN)/pytest -q tests/deploy $(ARGS)

k8s-smoke: setup ## installs the local overlay where KUBECONFIG leads, restarts all of it under load, checks the books
	@$(BIN)/python -m tests.deploy.smoke cluster

standin-smoke: setup ## the same on this machine: the local overlay's pods as processes, with TLS and PostgreSQL
	@$(BIN)/python -m tests.deploy.smoke standin

bench-lock: ## resolves LiteLLM's packages anew, as bench/path/litellm.in names it (needs uv on the PATH)
	$(COMPILE) bench/path/litellm.in -o bench/path/litellm.lock

conformance-lock: ## resolves the packages of the conformance clients anew (needs uv and npm on the PATH)
	for file in tests/conformance/*/*.in; do $(COMPILE) $$file -o $${file%.in}.lock || exit 1; done
	cd tests/conformance/node && npm update --package-lock-only --ignore-scripts --no-audit --no-fund && node plain-lock.mjs
