"""Options that are settled before torch is imported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dsnot_exp.config import CalibConfig, Config, EvalConfig, ModelConfig
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.plan import make_plan
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import RequestError

CONFIG = Config(
    model=ModelConfig(name="tinyworld"),
    prune={"name": "wanda"},
    refine={"name": "none"},
    allocate={"name": "uniform"},
    reconstruct={"name": "none"},
    calib=CalibConfig(dataset="tinyworld"),
    eval=EvalConfig(name="none"),
)


@pytest.mark.parametrize(
    ("sparsity", "pattern", "settled"),
    [
        (None, "unstructured", (0.5, "unstructured")),
        ("0.6", "unstructured", (0.6, "unstructured")),
        ("2:4", "unstructured", (0.5, "2:4")),
        ("1:4", "1:4", (0.75, "1:4")),
        (0.5, "2:4", (0.5, "2:4")),
    ],
)
def test_sparsity_takes_a_fraction_or_a_pattern(
    sparsity: float | str | None, pattern: str, settled: tuple[float, str]
) -> None:
    found = settle(replace(CONFIG, sparsity=sparsity, pattern=pattern))
    assert (found.sparsity, found.pattern) == settled
    assert settle(found) == found


@pytest.mark.parametrize("sparsity", ["50%", "4:2", "2/4", "", "2:4:8"])
def test_other_words_are_refused(sparsity: str) -> None:
    with pytest.raises(RequestError, match=f"sparsity={sparsity}: .*such as 2:4"):
        settle(replace(CONFIG, sparsity=sparsity))


def test_a_pattern_given_as_sparsity_is_the_same_run() -> None:
    one, other = replace(CONFIG, sparsity="2:4"), replace(CONFIG, pattern="2:4")
    assert config_hash(make_plan(one)) == config_hash(make_plan(other))
    assert make_plan(one).recipe == make_plan(other).recipe
