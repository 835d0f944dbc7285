# make run | test | test-all | lint | bench. The first use sets up .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN := run

.PHONY: run test test-all test-fast test-containers images lint bench clean setup typed protocol

setup: $(READY)

$(READY): pyproject.toml requirements.lock $(wildcard native/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[dev]'
	@# Every step is a process of its own: without bytecode each would compile TensorFlow's sources again.
	-$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1
	touch $@

run: $(READY)
	$(BIN)/ssfr run demo --workdir $(RUN)/demo

# Files in their order, not by their number of tests: complete runs, which take longest, begin first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

# All but what is marked slow: under ten minutes on two cores, set-up included.
test: $(READY)
	$(PYTEST) -m "not slow"

test-all: $(READY)
	$(PYTEST)

test-fast: $(READY)
	$(PYTEST) -m "not slow" tests/unit

# Builds the images and runs the compiled demo on them; needs a Docker daemon, or root and dockerd.
test-containers: $(READY)
	SSFR_TEST_CONTAINERS=1 $(BIN)/python -m pytest -q tests/containers

images:
	docker/build data train

# The folders as they are installed, for readers that follow no build backend.
typed:
	mkdir -p build/typed/ssfr && cp ssfr/*.py ssfr/py.typed build/typed/ssfr
	ln -sfn ../../../components build/typed/ssfr/components
	ln -sfn ../../../pipelines build/typed/ssfr/pipelines

# The classes of the messages, after a change of wire.proto.
protocol: $(READY) typed
	$(BIN)/python -m grpc_tools.protoc -I build/typed --python_out build/typed --pyi_out build/typed \
		build/typed/ssfr/components/serving/protocol/wire.proto

lint: $(READY) typed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/typed $(BIN)/mypy

bench: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[dev,bench]'
	$(BIN)/python -m benchmarks --json --output benchmarks/results.json

clean:
	rm -rf $(VENV) build $(RUN)
