# make demo, make test: each sets up everything it needs in .venv (once), then runs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := lucene,cpu,demo,dev
READY  := $(VENV)/ready

.PHONY: demo test lint format setup clean bench-models jar
demo: $(READY)
	$(BIN)/gradir demo

# Small tests on two workers of one thread each, then whole pipelines, which use all cores themselves.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --ignore=tests/e2e
	$(BIN)/python -m pytest -q tests/e2e

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy gradir

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The models that benchmarks need, made once and kept in benchmarks/cache.
bench-models: $(READY)
	$(BIN)/python -m benchmarks.models

# The Java classes: after a change of gradir/java/gradir/*.java. Needs javac; users do not.
jar: $(READY)
	$(BIN)/python tools/build-jar

setup: $(READY)

# The pinned packages of constraints.txt; torch first, so that nothing else draws in another build of it.
$(READY): pyproject.toml constraints.txt tools/install-torch
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradir needs Python 3.11 or later; name one: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	tools/install-torch $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
