# Every target makes its own environment: a clone, Python 3.11 or newer and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-fast coverage soak check fix bench docs pictures release-check clean

# The whole line on a sample of real rows: data, folds, training, audit, ensemble, submissions, scores.
demo: $(READY)
	$(BIN)/comp data sample
	$(BIN)/comp run

# Two processes of one thread each: models this small are fastest so, and their bytes do not depend on the machine.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The same without the tests that train models, start processes or open a browser: a minute to a minute and a half on two cores.
test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# Branches of the package that the tests reach; what only a GPU reaches is left out in pyproject.toml.
coverage: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=competition --cov-branch --cov-report=term:skip-covered --cov-fail-under=95

# What `make test` does with two faults of a kind, 40 bad inputs, 20 made-up tables and each family of encoders by one
# method, with 100, 20,000, 20,000, and every family by every method: it takes long.
soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.peers
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.limit
	$(BIN)/python -m benchmarks.gpu
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.methods
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.pretraining
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.noise
	$(BIN)/python -m benchmarks.stacking
	$(BIN)/python -m benchmarks.stages
	$(BIN)/python -m benchmarks.schedule

# The reference and the picture of the rooms are made from the code.
docs: $(READY)
	$(BIN)/python docs/build.py
	$(BIN)/python docs/rooms.py
	$(BIN)/python -m docs.scale

# The README's pictures are made from a demo in a folder of its own; needs Chromium.
pictures: $(READY)
	$(BIN)/python docs/pictures.py

# A source archive and a wheel of the version in competition/__init__.py, in dist/; the wheel is installed into an
# environment of its own, where the sample runs from data to submissions.
release-check: $(READY)
	rm -rf dist build/release
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[release]'
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/release/env
	build/release/env/bin/python -m pip install -q -c constraints.txt dist/*.whl
	grep -q "^## $$(build/release/env/bin/comp --version | cut -d' ' -f2)" CHANGELOG.md
	build/release/env/bin/comp init build/release/work
	build/release/env/bin/comp data sample -w build/release/work
	build/release/env/bin/comp run -w build/release/work

# Removes what the commands made, not the environment.
clean:
	rm -rf data models reports .locks
	git clean -fdxq folds oof submissions

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
