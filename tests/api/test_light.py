"""`import dsnot_exp` is light, and everything public can be found from it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dsnot_exp
import dsnot_exp.methods
from dsnot_exp.methods import registry

ROOT = Path(__file__).parents[2]
HEAVY = "{'torch', 'transformers', 'pandas', 'numpy', 'omegaconf', 'hydra', 'lm_eval', 'rich'}"


@pytest.mark.parametrize(
    "code",
    [
        "import dsnot_exp",
        "import dsnot_exp; dir(dsnot_exp)",
        "import dsnot_exp; dsnot_exp.evaluate; dsnot_exp.methods",
        "from dsnot_exp import evaluate, methods",
    ],
)
def test_the_package_is_imported_without_any_library(code: str) -> None:
    code = f"import sys; {code}; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_a_result_is_read_without_torch() -> None:
    code = "import sys; from dsnot_exp import load_run; print({'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


def test_all_names_are_there() -> None:
    for name in dsnot_exp.__all__:
        assert name in dir(dsnot_exp)
        assert getattr(dsnot_exp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'prunes'"):
        dsnot_exp.prunes  # noqa: B018
    with pytest.raises(ImportError):
        from dsnot_exp.methods import Wandas  # noqa: F401


def test_the_classes_are_those_of_the_registry() -> None:
    known = {
        name: found.load()
        for group in ("allocate", "prune", "refine", "reconstruct")
        for name, found in registry.OURS[group].items()
        if name != registry.NONE
    }
    classes = {kind.__name__: kind for kind in known.values()}
    assert {name: getattr(dsnot_exp.methods, name) for name in dsnot_exp.methods.CLASSES} == classes
    assert dsnot_exp.Wanda is classes["Wanda"]


def test_evaluate_is_a_function_though_it_is_a_folder_too() -> None:
    import dsnot_exp.evaluate.suite
    from dsnot_exp.api.evaluate import evaluate

    assert callable(dsnot_exp.evaluate)
    assert inspect.signature(dsnot_exp.evaluate) == inspect.signature(evaluate)
    assert dsnot_exp.evaluate.suite.Suite is not None
