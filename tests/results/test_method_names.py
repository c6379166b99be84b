"""A run's methods have one name, wherever it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.methods import registry
from dsnot_exp.report.runs import run_of
from dsnot_exp.results.card import facts
from dsnot_exp.results.method_names import GROUPS, PRINTED, pretty
from dsnot_exp.results.stages import column_titles
from dsnot_exp.results.tracking import wandb_words
from dsnot_exp.runs.columns import usual
from dsnot_exp.runs.fields import fields
from dsnot_exp.runs.find import find
from tests.report.folders import fill, result

CHOSEN = {"prune": "wanda", "allocate": "owl", "refine": "dsnot", "reconstruct": "cg"}
NAME = "Wanda + OWL + DSnoT + CG"


def named(**chosen: str) -> dict[str, Any]:
    """A result with these methods, in the order in which the configuration has them."""
    made = result()
    others = {key: value for key, value in made["config"].items() if key not in GROUPS}
    methods = {group: {"name": chosen.get(group, "none")} for group in ("allocate", *GROUPS)}
    return made | {"config": methods | others | {"wandb": {"tags": []}}}


def test_the_report_the_card_the_list_and_the_trackers_agree(tmp_path: Path) -> None:
    made = named(**CHOSEN)
    (found,) = find(fill(tmp_path, made))
    assert found.run is not None
    (listed,) = [c.text(found, fields(found)) for c in usual([fields(found)]) if c.key == "method"]
    assert pretty(found.run.method) == facts.methods(made) == listed == NAME
    assert wandb_words.summary(made)["method"] == NAME
    stages = [group for group, _, _ in facts.stages(made["config"])]
    assert stages == ["prune", "allocate", "refine", "reconstruct"]


def test_a_model_that_was_sparse_before_is_named_alike() -> None:
    before = CHOSEN | {"finetune": None, "sparsity": 0.6}
    made = named(prune="none") | {"model": {"name": "local", "sparse": before}}
    assert list(column_titles(made).values()) == [f"{NAME} 60 %"]
    assert pretty(run_of(Path("result.json"), made).method) == f"{NAME} 60 %"
    assert wandb_words.summary(made)["method"] == f"{NAME} 60 %"
    assert facts.methods(made) == ""


@pytest.mark.parametrize("group", GROUPS)
def test_every_method_of_ours_has_a_printed_name(group: str) -> None:
    assert set(registry.OURS[group]) - {"none", "uniform"} <= set(PRINTED)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("wanda+dsnot, 50 cycles", "Wanda + DSnoT, 50 cycles"),
        ("wanda+dsnot 60 %", "Wanda + DSnoT 60 %"),
        ("mine+dsnot", "mine + DSnoT"),
        ("mine+yours", "mine+yours"),
        ("sparse 50 %", "sparse 50 %"),
        ("wanda is good", "wanda is good"),
    ],
)
def test_a_name_in_print(name: str, printed: str) -> None:
    assert pretty(name) == printed
