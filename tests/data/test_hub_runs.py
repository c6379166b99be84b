"""The papers' corpora and lm-eval's own tasks from the command line, against a loopback hub."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from dsnot_exp import tinyworld
from tests.support.data_repositories import repositories
from tests.support.families import build
from tests.support.hub_server import Hub
from tests.support.shell import Outcome, Process

SEQLEN, SAMPLES, SEED = 128, 6, 3
TASKS = ["boolq", "rte", "winogrande", "arc_easy", "openbookqa"]
SMALL = [
    "calib.dataset=c4", f"calib.samples={SAMPLES}", f"calib.seqlen={SEQLEN}", f"seed={SEED}",
    "refine=none", "eval.baselines=[]",
]  # fmt: skip
TEXTS = [*SMALL, "eval.perplexity=[wikitext2,ptb,c4]", "eval.tasks=[]"]
ITEMS = [*SMALL, "eval.perplexity=[]", f"eval.tasks=[{','.join(TASKS)}]", "eval.limit=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repositories")


@pytest.fixture(scope="module")
def hub(place: Path) -> Iterator[Hub]:
    hub = Hub(repositories(place))
    yield hub
    hub.stop()


class Toy(Process):
    """Runs the command on a small model with tinyworld's tokenizer."""

    def __init__(self, place: Path, hub: Hub, **environment: str) -> None:
        super().__init__(place, hub, tasks=True, **environment)
        tokenizer = AutoTokenizer.from_pretrained(tinyworld.MODEL)
        changes = {"num_hidden_layers": 1, "max_position_embeddings": 256}
        build("llama", vocab_size=len(tokenizer), **changes).save_pretrained(place / "toy")
        tokenizer.save_pretrained(place / "toy")

    def __call__(self, *arguments: str) -> Outcome:
        return self.run("model=local", f"model.path={self.place}/toy", *arguments)


@pytest.fixture(scope="module")
def shell(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    shell = Toy(tmp_path_factory.mktemp("shell") / "online", hub)
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def texts(shell: Toy) -> Outcome:
    return shell(*TEXTS)


@pytest.fixture(scope="module")
def items(shell: Toy) -> Outcome:
    return shell(*ITEMS)


def ids(text: str) -> list[int]:
    return AutoTokenizer.from_pretrained(tinyworld.MODEL)(text)["input_ids"]


def digest(rows: list[list[int]]) -> str:
    return hashlib.sha256(torch.tensor(rows).numpy().tobytes()).hexdigest()


def documents(path: Path) -> list[str]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line)["text"] for line in file]


def column(path: Path, name: str) -> list[str]:
    return pq.read_table(path)[name].to_pylist()


def test_calibration_tokens_are_those_of_the_released_code(texts: Outcome, place: Path) -> None:
    shard = documents(place / "c4" / "en" / "c4-train.00000-of-01024.json.gz")
    random.seed(SEED)
    rows, drawn = [], 0
    while len(rows) < SAMPLES:
        drawn += 1
        tokens = ids(shard[random.randint(0, len(shard) - 1)])
        if len(tokens) > SEQLEN:
            start = random.randint(0, len(tokens) - SEQLEN - 1)
            rows.append(tokens[start : start + SEQLEN])
    assert drawn > SAMPLES  # some documents were too short
    assert texts.finished()["data"]["calibration"]["tokens_sha256"] == digest(rows)


def test_evaluation_tokens_are_those_of_the_released_code(texts: Outcome, place: Path) -> None:
    folder = place / "wikitext" / "wikitext-2-raw-v1"
    wikitext = column(folder / "test-00000-of-00001.parquet", "text")
    converted = place / "ptb" / "converted" / "penn_treebank"
    ptb = column(converted / "test" / "0000.parquet", "sentence")
    shard = documents(place / "c4" / "en" / "c4-validation.00000-of-00008.json.gz")
    joined = {
        "wikitext2": ids("\n\n".join(wikitext)),
        "ptb": ids(" ".join(ptb)),
        "c4": ids(" ".join(shard[:1100]))[: 256 * SEQLEN],
    }
    for name, stream in joined.items():
        count = len(stream) // SEQLEN
        assert count > 10
        rows = [stream[i * SEQLEN : (i + 1) * SEQLEN] for i in range(count)]
        assert texts.finished()["data"]["evaluation"][name]["tokens_sha256"] == digest(rows), name


def test_the_commits_are_recorded(hub: Hub, texts: Outcome) -> None:
    data = texts.finished()["data"]
    found = {name: one["revision"] for name, one in data["evaluation"].items()}
    commits = {
        "wikitext2": hub.commits["datasets", "Salesforce/wikitext"][0].commit,
        "ptb": hub.commits["datasets", "ptb-text-only/ptb_text_only"][1].commit,
        "c4": hub.commits["datasets", "allenai/c4"][0].commit,
    }
    assert found == commits
    assert data["calibration"]["revision"] == commits["c4"]


def test_only_the_files_that_are_needed_are_downloaded(hub: Hub, texts: Outcome) -> None:
    assert texts.finished()
    assert hub.downloaded("allenai/c4") == {
        "en/c4-train.00000-of-01024.json.gz": 1,
        "en/c4-validation.00000-of-00008.json.gz": 1,
    }


def test_tasks_of_the_hub(items: Outcome) -> None:
    found = items.finished()["metrics"]["zero_shot"]
    assert list(found) == TASKS
    for task, stages in found.items():
        (values,) = stages.values()
        assert values["items"] == 8
        assert 0 <= values["acc"] <= 1
        assert values["acc_stderr"] > 0 or values["acc"] in (0, 1)
        assert values["num_fewshot"] == 0
        assert values["version"] is not None
        assert ("acc_norm" in values) == (task in ("arc_easy", "openbookqa"))


def test_everything_runs_again_while_the_hub_is_down(
    hub: Hub, shell: Toy, texts: Outcome, items: Outcome
) -> None:
    hub.stop()
    try:
        warm_texts, warm_items = shell(*TEXTS), shell(*ITEMS)
    finally:
        hub.start()
    for warm, before in ((warm_texts, texts), (warm_items, items)):
        for key in ("metrics", "data", "masks_sha256"):
            assert warm.finished()[key] == before.finished()[key], key


def test_tokens_that_were_drawn_are_not_drawn_again(shell: Toy, texts: Outcome) -> None:
    assert texts.finished()
    kept = sorted((shell.place / "own" / "tokens").iterdir())
    assert len(kept) == 4  # c4 to calibrate, and three texts
    times = [file.stat().st_mtime_ns for file in kept]
    kept[0].write_bytes(b"damaged")
    again = shell(*TEXTS)
    assert again.finished()["data"] == texts.finished()["data"]
    assert [file.stat().st_mtime_ns == time for file, time in zip(kept, times, strict=True)] == [
        False, True, True, True,
    ]  # fmt: skip


def test_a_cold_cache_says_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    offline = Toy(tmp_path / "cold", hub, HF_HUB_OFFLINE="1")
    missing = offline(*TEXTS)
    missing.refuses(1, "allenai/c4", "HF_HUB_OFFLINE is set", "c4-train", "not cached")
    task = offline(*ITEMS, "calib=tinyworld", "eval.tasks=[boolq]")
    task.refuses(1, "eval.tasks=boolq", "cannot load its data")
    offline.close()
