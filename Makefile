# Everything happens in .venv; "make" alone lists the commands.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
KEEP   ?=

# make matrix VERSIONS="2.11 3.0" PYTHONS="3.11 3.12" FAST=1: a Python that is not installed is reported and skipped
VERSIONS ?=
PYTHONS  ?= 3.11 3.12 3.13
# make simulate N=200000 FIRST=0
N        ?= 20000
FIRST    ?= 0
FAST     ?=
MATRIX   := $(BIN)/python -m tests.matrix $(if $(VERSIONS),--versions "$(VERSIONS)")

# The first of these that runs and is 3.11, 3.12 or 3.13. Override: make setup PYTHON=/path/to/python
QUALIFIES := import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14)))
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	if $$p -c '$(QUALIFIES)' >/dev/null 2>&1; then echo $$p; break; fi; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all simulate coverage ui screenshots chaos bench docs lint constraints clean diagram soak figures freeze build cluster-test cluster-up cluster-down cluster-status cluster-kill matrix matrix-ends pins

help: ## list the commands
	@echo "In a clone of the repository: git clone https://github.com/segmind/airflow-provider-segmind"
	@echo "Needs Python 3.11, 3.12 or 3.13. Every command installs into $(VENV) first, once. Durations are for two cores."
	@echo
	@echo "make setup        install into $(VENV); two minutes"
	@echo "make demo         run the whole pipeline on this machine: Airflow, the DAG, an emulator; no key needed; a minute"
	@echo "make demo KEEP=1  the same, and keep Airflow's web UI running until Ctrl-C"
	@echo "make test         run the tests; five minutes; make test ARGS=\"-k upload\" passes arguments to pytest"
	@echo "make test-all     run the rest: whole Airflows, a browser, the oldest Airflow and 3.1, kills; 25 minutes"
	@echo "make coverage     run make test and report the lines and branches of the package that it does not run; six minutes"
	@echo "make ui           run only the tests that drive Airflow's UI in a headless Chromium"
	@echo "make screenshots  take the documentation's screenshots of that UI again"
	@echo "make matrix       run the tests on every Airflow, each in its own environment; hours; VERSIONS=\"2.11 3.0\" PYTHONS= FAST=1"
	@echo "make simulate     run the engine in a simulated world with random faults; make simulate N=200000 takes minutes"
	@echo "make chaos        kill, throttle and break a whole Airflow at every point, and count what was billed"
	@echo "make cluster-test the same on a cluster: CeleryExecutor, two workers, two triggerers, PostgreSQL, Redis"
	@echo "make cluster-up   start such a cluster for experiments; cluster-status, cluster-kill NAME=worker-1, cluster-down"
	@echo "make bench        compare it with what a user would write instead; make bench ARGS=\"wait --quick\" runs one part, roughly"
	@echo "make docs         build the documentation into docs/_build/html; a warning or a dead link is an error"
	@echo "make diagram      draw docs/images/life-of-a-request.svg again"
	@echo "make soak         keep 500 waits running for 30 minutes; make soak ARGS=\"--minutes 3\" is shorter"
	@echo "make lint         check with ruff, its formatter, mypy, and zizmor for the workflow; a minute"
	@echo "make build        build wheel and sdist, check them, install the wheel in a clean environment and run the demo there"
	@echo "make figures      print how many places a change touches; ARGS=\"--root PATH\" compares with another checkout"
	@echo "make freeze       record what this version writes into databases and buckets; once for each release"
	@echo "make constraints  resolve constraints.txt again"
	@echo "make pins         resolve constraints/ of the other Airflows again; VERSIONS=\"2.11\""
	@echo "make clean        remove everything that these commands create, $(VENV) included"

setup: $(STAMP) ## install, if the requirements have changed

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 was found. Install one, or give its path: make setup PYTHON=/path/to/python" >&2; exit 1; fi
	@"$(PYTHON)" -c '$(QUALIFIES)' || { \
		echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13. Give the path of another: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@if [ -x $(BIN)/python ] && $(BIN)/python -c '$(QUALIFIES)' 2>/dev/null; then :; else \
		echo "Creating $(VENV) with $(PYTHON)"; \
		"$(PYTHON)" -m venv --clear $(VENV) || { \
			echo "$(PYTHON) has no venv module. Install it (on Debian and Ubuntu: apt-get install python3-venv) and run make again." >&2; exit 1; }; fi
	@echo "Installing into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup ## run the whole pipeline on this machine
	@$(BIN)/python -m demo $(if $(filter-out 0 no false,$(KEEP)),--keep)

# Tests that failed in the last run go first, and a failure is shown at once. tests/conftest.py sets the number for -n.
PYTEST := $(BIN)/python -m pytest --failed-first --instafail
QUICK  := -n auto --dist worksteal -m "not e2e and not ui and not chaos and not cluster"

test: setup ## run every test that needs at most one whole Airflow
	@$(PYTEST) $(QUICK) $(ARGS)

test-all: setup ## run the rest: whole Airflows as processes, a browser, two other Airflows, kills
	@$(PYTEST) -n 2 --dist loadgroup -m "e2e or ui" $(ARGS)
	@$(MAKE) --no-print-directory matrix-ends ARGS=
	@$(MAKE) --no-print-directory chaos

coverage: setup ## report the lines and branches of the package that make test does not run
	@$(PYTEST) $(QUICK) --cov --cov-report=term $(ARGS)

ui: setup ## test the tab and the gallery in a real browser
	@$(PYTEST) -m ui tests/ui $(ARGS)

screenshots: setup ## take the documentation's screenshots of the UI
	@SCREENSHOTS="$(CURDIR)/docs/images" $(BIN)/python -m pytest -m ui tests/ui/test_screenshots.py $(ARGS)

matrix: setup ## the tests on every Airflow; whole runs go into the table of docs/reference/versions.md
	@$(MATRIX) --pythons "$(PYTHONS)" $(if $(FAST),--fast) --keep $(ARGS)

matrix-ends: setup ## run the fast tests on the oldest Airflow and one in the middle
	@$(BIN)/python -m tests.matrix --versions "2.11 3.1" --fast $(ARGS)

simulate: setup ## run N schedules of a simulated world, from seed FIRST on, on all cores
	@$(BIN)/python -m tests.simulation $(N) $(FIRST)

# In the order of the files, because the quick kills come first.
chaos: setup ## kill, throttle and break a whole Airflow at every point
	@$(PYTEST) -p no:randomly -m chaos tests/chaos $(ARGS)

cluster-test: setup ## kill parts of a cluster with CeleryExecutor, Redis and PostgreSQL
	@$(BIN)/python -m pytest -m cluster tests/chaos/cluster $(ARGS)

cluster-up cluster-down cluster-status: setup ## start, stop or inspect such a cluster
	@$(BIN)/python -m tests.chaos.cluster $(@:cluster-%=%)

cluster-kill: setup ## SIGKILL a part of it: make cluster-kill NAME=worker-1
	@$(BIN)/python -m tests.chaos.cluster kill $(NAME)

bench: setup ## compare waits, transports, downloads, imports, batches and whole runs
	@$(BIN)/python -m benchmarks $(ARGS)

docs: setup ## build the documentation and check its links
	@$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --builder html \
		--doctree-dir docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

soak: setup ## check that memory and file descriptors do not grow
	@$(BIN)/python -m benchmarks.soak $(ARGS)

lint: setup ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --offline --quiet --persona=auditor .github

build: setup ## build and check what a release consists of
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .release
	@$(BIN)/uv pip install --quiet --python .release/bin/python -c constraints.txt -e ".[release]"
	@.release/bin/python -m release $(ARGS)

figures: setup ## print how many places of the package a change touches
	@$(BIN)/python -m tests.figures $(ARGS)

freeze: setup ## write tests/wire/written/<version>.json
	@$(BIN)/python tests/freeze_shapes.py

diagram: setup ## draw the life of a request
	@$(BIN)/python docs/images/life_of_a_request.py

# Resolved by uv, because it is fast. Names and versions only, without the address of an index.
constraints: setup ## resolve constraints.txt again
	@set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	$(BIN)/python -m venv "$$work/venv"; \
	"$$work/venv/bin/python" -m pip install --quiet uv; \
	"$$work/venv/bin/uv" pip compile --quiet --python-version 3.11 --extra dev --extra release --no-header --no-annotate \
		--no-emit-index-url --output-file "$$work/found.txt" pyproject.toml; \
	{ echo "# Versions that make setup installs (names and versions only); written by make constraints."; \
	  grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' "$$work/found.txt"; } > constraints.txt; \
	echo "constraints.txt: $$(grep -c == constraints.txt) packages"

pins: setup ## resolve the constraints of the other Airflows again
	@$(MATRIX) --pin

clean: ## remove everything that these commands create
	rm -rf $(VENV) .release .matrix .demo .cluster .cluster.log .cluster-status.json .templates .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist docs/_build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
