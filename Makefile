# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Plain `python3 -m venv` and pip are enough; uv is used where it is installed.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)
JOBS   ?= 3
EXTRAS ?= dev,docs,train,postgres
DEMO   ?= local,serve
VARIANTS ?= core local

export PYTHONDONTWRITEBYTECODE := # else each process of the tests would compile everything anew

.PHONY: demo test hostile lint check docs bench dist container organism clean

demo: $(VENV)/.local
	$(BIN)/withstand model fetch smollm2
	$(BIN)/withstand demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile  # a file's fixtures are set up once; one thread a worker

# 10,000 files changed from a seed: each is read, or refused in words.
hostile: $(VENV)/.dev
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python tests/hostile/mutate.py 10000
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python tests/hostile/commands.py 3000

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py  # the site is built there too

# The site, into site/: a warning is an error, and nothing is loaded from elsewhere.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(VENV)/.dev
	$(BIN)/python bench/bench.py

# Wheel and sdist into dist/, checked, and the demo run from the wheel in a clean environment.
dist: | $(BIN)/python
	$(BIN)/python tools/dist.py

# The images of the Containerfile where docker, podman or buildah works; elsewhere the file is checked.
container: | $(BIN)/python
	$(BIN)/python tools/container.py $(VARIANTS)

# Trains the adapter of smollm2-kitchen anew from the texts in recipes/organism, and measures it.
organism: $(VENV)/.dev
	$(BIN)/python recipes/organism/build.py --out src/withstand/models/smollm2-kitchen
	$(BIN)/withstand run recipes/organism/measure.toml

clean:
	rm -rf $(VENV) build dist site

# The environment: the package with local models and the explorer for the demo, with everything a developer needs for the rest.
$(VENV)/.local: pyproject.toml | $(BIN)/python
	$(call install,-e ".[$(DEMO)]")
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(call install,-e ".[$(EXTRAS)]")
	touch $@ $(VENV)/.local

$(BIN)/python:
	$(if $(UV),uv venv --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

define install
$(if $(UV),VIRTUAL_ENV=$(VENV) uv pip install $(1),$(BIN)/python -m pip install --quiet $(1))
endef
