"""The model card of a saved model: readable by the hub's library, complete, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from dsnot_exp.methods import registry
from dsnot_exp.models.licence import licence_in, licence_of
from dsnot_exp.models.source import Source
from dsnot_exp.results.card.citations import PAPERS, citations
from dsnot_exp.results.card.write import card, write_card
from tests.support.command import Command, toy_arguments

# Ours, or older than the field.
WITHOUT_PAPER = {
    ("prune", "magnitude"), ("refine", "swaps"), ("refine", "moments"), ("allocate", "uniform"),
    ("allocate", "fisher"), ("allocate", "file"), ("reconstruct", "none"), ("reconstruct", "cg"),
    ("reconstruct", "lstsq"),
}  # fmt: skip


@pytest.fixture
def result(command: Command, tmp_path: Path) -> dict[str, Any]:
    words = [*toy_arguments(tmp_path), "sparsity=0.5"]
    found: dict[str, Any] = command(*words, run="made").result
    return found


def test_a_saved_model_has_a_card(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SOME_API_KEY", "sesame-0123456789")
    words = [*toy_arguments(tmp_path), "save=true", "eval.baselines=[dense,pruned]"]
    (tmp_path / "toy/README.md").write_text("---\nlicense: mit\n---\n")
    made = command(*words, "wandb.tags=[sesame-0123456789]", run="made")
    path = made.folder / "model/README.md"
    text = path.read_text()
    data = ModelCard.load(path).data
    assert (data.license, data.library_name, data.base_model) == ("mit", "transformers", None)
    assert {"dsnot_exp", "wanda", "dsnot"} <= set(data.tags)
    values = made.result["metrics"]["perplexity"][f"{tmp_path}/test.safetensors".replace(
        str(tmp_path), "~"
    )]  # fmt: skip
    numbers = " | ".join(f"{values[stage]:.3f}" for stage in ("dense", "pruned", "refined"))
    assert f"| perplexity, test.safetensors | {numbers} |" in text
    for said in (made.result["masks_sha256"], made.result["config_hash"], "max_cycles=50", "2310"):
        assert said in text
    assert str(tmp_path) not in text
    assert "sesame" not in text
    path.unlink()  # as if killed right after the result
    again = command(*words, "wandb.tags=[sesame-0123456789]", run="made")
    assert "already finished" in again.out
    assert path.read_text() == text


def test_an_unknown_licence_is_not_made_up(result: dict[str, Any]) -> None:
    text = card(result, None)
    assert ModelCard(text).data.license is None
    assert "See the base model." in text


def test_a_model_on_the_hub_is_the_base_and_its_text_a_result(result: dict[str, Any]) -> None:
    result["model"] |= {"path": "acme/toy-1b", "revision": "0123456789abcdef"}
    (name,) = result["metrics"]["perplexity"]
    for tree in (result["metrics"]["perplexity"], result["data"]["evaluation"]):
        tree["wikitext2"] = tree.pop(name)
    data = ModelCard(card(result, "mit")).data
    assert data.base_model == "acme/toy-1b"
    (found,) = data.eval_results
    assert found.dataset_type == "Salesforce/wikitext"
    assert found.metric_value == result["metrics"]["perplexity"]["wikitext2"]["refined"]
    assert found.metric_args["sequences"] == 8


def test_a_local_text_is_no_result_that_the_hub_could_compare(result: dict[str, Any]) -> None:
    assert ModelCard(card(result, None)).data.eval_results is None


def test_what_readers_must_know_is_said(result: dict[str, Any]) -> None:
    result["config"]["eval"]["limit"] = 5
    result["metrics"]["zero_shot"] = {"rte": {"refined": {"acc": 0.5, "acc_stderr": 0.01}}}
    result["warnings"] = ["the refined model is worse than the pruned one"]
    result["failed"] = {"boolq": "gone"}
    text = card(result, None)
    assert "| accuracy, rte | 50.0 ± 1.0 % |" in text
    assert "Only the first 5 items of each task were used. boolq failed and is missing." in text
    assert "> the refined model is worse than the pruned one" in text


def test_a_packed_model_names_its_loader_and_its_size(result: dict[str, Any]) -> None:
    size = {"dense": 800_000_000, "packed": 300_000_000, "rest": 200_000_000}
    text = card(result, None, "bitmask", size, "acme/sparse")
    assert 'dsnot_exp.load_packed("acme/sparse")' in text
    assert "500.0 MB on disk, 0.50 of the dense model" in text.replace("\n", " ")
    assert "from_pretrained" not in text.partition("load_packed")[0]


def test_a_dense_model_has_no_methods(command: Command, tmp_path: Path) -> None:
    made = command(*toy_arguments(tmp_path), "prune=none", "save=true", run="dense")
    text = (made.folder / "model/README.md").read_text()
    assert ModelCard(text).data.tags == ["dsnot_exp"]
    assert "with 0.0 % of the weights" in text.replace("\n", " ")
    assert "## Citation" not in text


def test_every_method_of_ours_has_a_paper_or_is_known_to_have_none() -> None:
    ours = {(group, name) for group, methods in registry.OURS.items() for name in methods}
    assert ours == set(PAPERS) | WITHOUT_PAPER
    assert not set(PAPERS) & WITHOUT_PAPER
    magnitude = ("prune", "magnitude", "")
    assert citations([magnitude, ("refine", "moments", "")]) == [PAPERS["refine", "dsnot"]]
    assert citations([magnitude]) == []


@pytest.mark.parametrize(
    "text", ["", "---\nlicense: [a\n---\n", "---\nlicense: [a, b]\n---\n", "# x"]
)
def test_a_readme_without_a_licence(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licence_in(tmp_path / "README.md") is None
    assert licence_of(Source(str(tmp_path))) is None


def test_the_card_of_a_folder_is_replaced(result: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("old")
    write_card(tmp_path, json.loads(json.dumps(result)), "mit")
    assert ModelCard.load(tmp_path / "README.md").data.license == "mit"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".README")] == []
