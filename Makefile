# make demo, make test: each sets up everything it needs in .venv (once), then runs. make test-llm: the same in .venv-llm, with vLLM.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := lucene,cpu,demo,dev
READY  := $(VENV)/ready

LLM       := .venv-llm
LLM_READY := $(LLM)/ready

.PHONY: demo test test-llm lint format setup clean bench-models jar
demo: $(READY)
	$(BIN)/gradir demo

# Small tests on two workers of one thread each, then whole pipelines: one worker makes the demo while the other has what needs none.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --ignore=tests/e2e
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/e2e/test_demo.py tests/e2e

# A language model for real: vLLM's CPU build as a server and in the process. Where there is no vLLM, these are not collected.
test-llm: $(LLM_READY)
	OMP_NUM_THREADS=1 $(LLM)/bin/python -m pytest -q tests/llm_live

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

# The pinned packages of constraints.txt; torch first, so that nothing else draws in another build of it. xgrammar alone: it asks for
# triton, a gigabyte that only GPUs use.
$(READY): pyproject.toml constraints.txt tools/install-torch
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradir needs Python 3.11 or later; name one: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	tools/install-torch $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps xgrammar apache-tvm-ffi
	touch $@

$(LLM_READY): requirements-llm.txt constraints.txt tools/install-llm tools/install-torch
	test -x $(LLM)/bin/python || $(PYTHON) -m venv $(LLM)
	tools/install-llm $(LLM)/bin/python
	touch $@

clean:
	rm -rf $(VENV) $(LLM) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
