# Everything happens in .venv; "make" alone says what there is.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
KEEP   ?=

# make matrix VERSIONS="2.11 3.0" PYTHONS="3.11 3.12" FAST=1: a Python that is not here is told, and not run
VERSIONS ?=
PYTHONS  ?= 3.11 3.12 3.13
# make simulate N=200000 FIRST=0
N        ?= 20000
FIRST    ?= 0
FAST     ?=
MATRIX   := $(BIN)/python -m tests.matrix $(if $(VERSIONS),--versions "$(VERSIONS)")

# The first of these that is at least 3.11 and below 3.13. Override: make setup PYTHON=/path/to/python
QUALIFIES := import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 13)))
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c '$(QUALIFIES)' >/dev/null 2>&1; then echo $$p; break; fi; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all simulate coverage ui screenshots chaos bench docs lint constraints clean diagram soak freeze build cluster-test cluster-up cluster-down cluster-status cluster-kill matrix matrix-ends pins

help: ## say what there is
	@echo "make setup        install into $(VENV) (Python 3.11 or 3.12)"
	@echo "make demo         run the whole pipeline on this machine: Airflow, the DAG, an emulator; no key needed"
	@echo "make demo KEEP=1  the same, and leave Airflow's web UI up until Ctrl-C"
	@echo "make test         run the tests, in four minutes on two cores; make test ARGS=\"-k upload\" passes arguments to pytest"
	@echo "make test-all     run the rest, in 25 minutes: whole Airflows, a browser, the oldest Airflow and 3.1, kills"
	@echo "make coverage     run make test and show the lines and branches of the package that it does not run"
	@echo "make ui           run only the tests that drive Airflow's UI in a headless Chromium"
	@echo "make screenshots  renew the documentation's pictures of that UI"
	@echo "make matrix       run the tests on every Airflow, each in an environment of its own; VERSIONS=\"2.11 3.0\" PYTHONS= FAST=1"
	@echo "make simulate     run the engine in a simulated world where everything goes wrong; make simulate N=200000"
	@echo "make chaos        kill, throttle and break a whole Airflow at every point, and count what was paid"
	@echo "make cluster-test the same on a cluster: CeleryExecutor, two workers, two triggerers, PostgreSQL, Redis"
	@echo "make cluster-up   such a cluster to try things on; cluster-status, cluster-kill NAME=worker-1, cluster-down"
	@echo "make bench        measure it beside what a user would write instead; make bench ARGS=\"wait --quick\" a part, roughly"
	@echo "make docs         build the documentation into docs/_build/html; a warning or a dead link is an error"
	@echo "make diagram      draw docs/images/life-of-a-request.svg anew"
	@echo "make soak         500 waits at any time for 30 minutes; make soak ARGS=\"--minutes 3\" a short one"
	@echo "make lint         ruff, its formatter's check, mypy, and zizmor for the workflow"
	@echo "make build        wheel and sdist, checked, installed in a clean environment, and the demo run from there"
	@echo "make freeze       write down what this version leaves in databases and buckets, once a release"
	@echo "make constraints  renew constraints.txt from what pip resolves today"
	@echo "make pins         renew constraints/, of the other Airflows; VERSIONS=\"2.11\""
	@echo "make clean        remove what the above have made, $(VENV) included"

setup: $(STAMP) ## install, if anything has changed

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or 3.12 was found. Install one, or name it: make setup PYTHON=/path/to/python" >&2; exit 1; fi
	@"$(PYTHON)" -c '$(QUALIFIES)' || { \
		echo "$(PYTHON) is not Python 3.11 or 3.12. Name another: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@if [ -x $(BIN)/python ] && $(BIN)/python -c '$(QUALIFIES)' 2>/dev/null; then :; else \
		echo "Making $(VENV) with $(PYTHON)"; \
		"$(PYTHON)" -m venv --clear $(VENV) || { \
			echo "$(PYTHON) has no venv module (on Debian and Ubuntu: the package python3-venv)." >&2; exit 1; }; fi
	@echo "Installing into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup ## the whole pipeline on this machine
	@$(BIN)/python -m demo $(if $(filter-out 0 no false,$(KEEP)),--keep)

# A failure of the last run is tested first, and each is shown when it happens. -n: tests/conftest.py says how many.
PYTEST := $(BIN)/python -m pytest --failed-first --instafail
QUICK  := -n auto --dist worksteal -m "not e2e and not ui and not chaos and not cluster"

test: setup ## every test that needs no more than one whole Airflow
	@$(PYTEST) $(QUICK) $(ARGS)

test-all: setup ## the rest: whole Airflows as processes, a browser, two other Airflows, kills
	@$(PYTEST) -n 2 --dist loadgroup -m "e2e or ui" $(ARGS)
	@$(MAKE) --no-print-directory matrix-ends ARGS=
	@$(MAKE) --no-print-directory chaos

coverage: setup ## lines and branches of the package that make test runs
	@$(PYTEST) $(QUICK) --cov --cov-report=term $(ARGS)

ui: setup ## the tab and the gallery in a real browser
	@$(PYTEST) -m ui tests/ui $(ARGS)

screenshots: setup ## the documentation's pictures of the UI, taken by its tests
	@SCREENSHOTS="$(CURDIR)/docs/images" $(BIN)/python -m pytest -m ui tests/ui/test_screenshots.py $(ARGS)

matrix: setup ## the tests on every Airflow; whole runs go into the table of docs/reference/versions.md
	@$(MATRIX) --pythons "$(PYTHONS)" $(if $(FAST),--fast) --keep $(ARGS)

matrix-ends: setup ## the fast tests on the oldest Airflow and one in the middle
	@$(BIN)/python -m tests.matrix --versions "2.11 3.1" --fast $(ARGS)

simulate: setup ## schedules of a simulated world: N of them, from seed FIRST on, over all cores
	@$(BIN)/python -m tests.simulation $(N) $(FIRST)

# In the order of the files: the quick kills first.
chaos: setup ## kill, throttle and break a whole Airflow at every point
	@$(PYTEST) -p no:randomly -m chaos tests/chaos $(ARGS)

cluster-test: setup ## a cluster on CeleryExecutor, Redis and PostgreSQL, whose parts die while it works
	@$(BIN)/python -m pytest -m cluster tests/chaos/cluster $(ARGS)

cluster-up cluster-down cluster-status: setup ## start, stop, look at such a cluster
	@$(BIN)/python -m tests.chaos.cluster $(@:cluster-%=%)

cluster-kill: setup ## SIGKILL a part of it: make cluster-kill NAME=worker-1
	@$(BIN)/python -m tests.chaos.cluster kill $(NAME)

bench: setup ## whole comparisons: waits, transports, downloads, imports, batches, end to end
	@$(BIN)/python -m benchmarks $(ARGS)

docs: setup ## the documentation, and the links within it
	@$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --builder html \
		--doctree-dir docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

soak: setup ## do memory and file descriptors stay flat?
	@$(BIN)/python -m benchmarks.soak $(ARGS)

lint: setup ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --offline --quiet --persona=auditor .github

build: setup ## what a release is made of, and proof that it works
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .release
	@$(BIN)/uv pip install --quiet --python .release/bin/python -c constraints.txt -e ".[release]"
	@.release/bin/python -m release $(ARGS)

freeze: setup ## tests/wire/written/<version>.json
	@$(BIN)/python tests/freeze_shapes.py

diagram: setup ## the life of a request, from its source beside it
	@$(BIN)/python docs/images/life_of_a_request.py

# Resolved by uv, which is quick at it; names and versions only, nothing of where they came from.
constraints: setup ## renew constraints.txt
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(BIN)/python -m venv "$$fresh/venv"; \
	"$$fresh/venv/bin/python" -m pip install --quiet uv; \
	"$$fresh/venv/bin/uv" pip compile --quiet --python-version 3.11 --extra dev --extra release --no-header --no-annotate \
		--no-emit-index-url --output-file "$$fresh/found.txt" pyproject.toml; \
	{ echo "# Versions that the set-up installs (names and versions only): make constraints renews it."; \
	  grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' "$$fresh/found.txt"; } > constraints.txt; \
	echo "constraints.txt: $$(grep -c == constraints.txt) packages"

pins: setup ## renew the constraints of the other Airflows
	@$(MATRIX) --pin

clean: ## remove what was made here
	rm -rf $(VENV) .release .matrix .demo .cluster .cluster.log .cluster-status.json .templates .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist docs/_build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
