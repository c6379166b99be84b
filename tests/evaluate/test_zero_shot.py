"""Accuracy: the same as lm-eval's own function gives, task by task, whatever fails on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from dsnot_exp import tinyworld
from dsnot_exp.evaluate.tasks import load_tasks, refuse_tokenizer_without_marks
from dsnot_exp.evaluate.zero_shot import zero_shot
from dsnot_exp.tinyworld import tasks as own
from dsnot_exp.tinyworld import tokenizer as words
from dsnot_exp.utils.errors import RequestError, RunError
from tests.support.command import Command
from tests.support.families import build

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: context
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 3.0}}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(tinyworld.MODEL)


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama", vocab_size=len(words.build()), max_position_embeddings=256)


def task_file(folder: Path, name: str, choices: list[str]) -> Path:
    """A task of the user's own. Its second item has these choices: with none, it fails, but only
    when it is asked."""
    items = [
        {"context": "the lamp is", "choices": these, "answer": 0}
        for these in (["red", "blue"], choices, ["blue", "red"])
    ]
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in items))
    path = folder / f"{name}.yaml"
    path.write_text(TASK.format(name=name, path=data))
    return path


@pytest.mark.parametrize("num_fewshot", [None, 2])
def test_equals_lm_evals_own(
    tmp_path: Path, model: Any, tokenizer: Any, num_fewshot: int | None
) -> None:
    own.build(tmp_path)
    whole = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1),
        tasks=["tw_where", "tw_follows"],
        num_fewshot=num_fewshot,
        limit=12,
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        log_samples=False,
    )
    for name, loaded in load_tasks(["tw_where", "tw_follows"]).items():
        for size in (None, 3):
            found = zero_shot(model, tokenizer, loaded, num_fewshot, 12, size)[name]
            for metric in ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr"):
                assert found[metric] == whole["results"][name][f"{metric},none"], metric
            assert found["version"] == 1.0
            assert found["items"] == 12
            assert found["num_fewshot"] == (num_fewshot or 0)


def test_progress_counts_every_request(model: Any, tokenizer: Any) -> None:
    totals, steps = [], []
    (loaded,) = load_tasks(["tw_where"]).values()
    zero_shot(model, tokenizer, loaded, None, 10, 4, totals.append, steps.append)
    assert totals == [30]  # three choices each
    assert sum(steps) == 30


def test_the_tokenizer_that_will_be_saved_is_left_alone(model: Any, tokenizer: Any) -> None:
    before = json.dumps(tokenizer.init_kwargs, default=str, sort_keys=True)
    tokenizer.pad_token = None
    (loaded,) = load_tasks(["tw_where"]).values()
    zero_shot(model, tokenizer, loaded, None, 2, None)
    assert tokenizer.pad_token is None
    tokenizer.pad_token = json.loads(before).get("pad_token")


def test_globs_and_files(tmp_path: Path) -> None:
    path = str(task_file(tmp_path, "mine", ["red"]))
    assert list(load_tasks(["tw_h*", path])) == ["tw_holder", path]


def test_data_that_cannot_be_had(tmp_path: Path) -> None:
    path = task_file(tmp_path, "mine", ["red"])
    (tmp_path / "mine.jsonl").unlink()
    with pytest.raises(RunError, match=r"mine\.yaml: cannot load its data"):
        load_tasks([str(path)])


def test_a_tokenizer_without_marks() -> None:
    class Bare:
        bos_token_id = eos_token_id = None

    with pytest.raises(RequestError, match="neither a bos_token nor an eos_token"):
        refuse_tokenizer_without_marks(Bare(), "toy")


def test_a_failing_task_does_not_lose_the_others(command: Command, tmp_path: Path) -> None:
    good, bad = task_file(tmp_path, "good", ["red"]), task_file(tmp_path, "bad", [])
    run = ["sparsity=0.5", "refine=none", "calib.samples=2", "wandb=disabled", "eval.baselines=[]"]
    run += [f"eval.tasks=[{bad},{good}]", "eval.perplexity=[]"]
    done = command(*run)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert f"eval.tasks: {bad} failed" in done.err
    found = done.result["metrics"]["zero_shot"]
    assert 0 <= found["good"]["refined"]["acc"] <= 1
    assert found["good"]["refined"]["version"] == 3.0
    assert "error" in found[str(bad)]["refined"]
    assert done.result["status"] == "incomplete"
    assert str(bad) in done.result["failed"]
    assert "failed" in done.out
    task_file(tmp_path, "bad", ["red"])
    again = command(*run)
    assert again.code == 0, again.err
    assert again.result["status"] == "finished"
    assert "bad" in again.result["metrics"]["zero_shot"]
