# make run     the main job, offline, on the bundled model       ARGS="sparsity=0.7" passes options
# make test    lint, types and tests                             both set up .venv once
# make test-ray  the test of the ray launcher, in an environment of its own
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The set-up is done again when what is to be installed changes, and only then.
READY := $(VENV)/.ready

.PHONY: run test test-ray setup clean

run: $(READY)
	$(BIN)/python -m dsnot_exp $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Hydra's ray plug-in asks for a cloudpickle that the pinned joblib does not take.
test-ray:
	$(PYTHON) -m venv .venv-ray
	grep -vE '^(joblib|cloudpickle)==' constraints.txt > .venv-ray/constraints.txt
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-ray/constraints.txt -e '.[ray]' pytest
	.venv-ray/bin/python -m pytest -rs tests/launchers/test_ray.py

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11 to 3.13 is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-ray .pytest_cache .mypy_cache .ruff_cache
