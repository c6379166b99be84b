"""An interrupted perplexity resumes at its batch, and its value is the uninterrupted one's to the
bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dsnot_exp.evaluate import unfinished as module
from dsnot_exp.evaluate.losses import Losses
from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.evaluate.unfinished import Unfinished
from dsnot_exp.utils.distributed import Ranks
from tests.support.command import Command, toy_arguments
from tests.support.families import build, tokens
from tests.support.forks import Forks
from tests.support.ranks import in_processes
from tests.support.waiting import halt_at, until


class Stopped(BaseException):
    """As sudden as kill -9: nothing handles it."""


@pytest.fixture(autouse=True)
def _every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)


Spy = Callable[[Callable[[int, Tensor], None]], list[int]]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Calls a function before each forward, with the number of earlier ones and the ids. Returns
    the list of the batches' sizes."""
    real = Losses.__call__

    def spy(before: Callable[[int, Tensor], None]) -> list[int]:
        sizes: list[int] = []

        def called(self: Losses, ids: Tensor) -> Tensor:
            before(len(sizes), ids)
            sizes.append(len(ids))
            return real(self, ids)

        monkeypatch.setattr(Losses, "__call__", called)
        return sizes

    return spy


def stop_at(forward: int) -> Callable[[int, Tensor], None]:
    def before(done: int, ids: Tensor) -> None:
        if done == forward:
            raise Stopped

    return before


@pytest.mark.parametrize("stop", range(1, 5))
def test_each_batch_counts_once_and_the_value_is_the_same_to_the_bit(
    stop: int, forwards: Spy, tmp_path: Path
) -> None:
    model, blocks = build("llama"), tokens(9, 16)
    whole = perplexity(model, blocks, 2)
    path = tmp_path / "batches" / "a.json"
    forwards(stop_at(stop))
    with pytest.raises(Stopped):
        perplexity(model, blocks, 2, unfinished=Unfinished(path, "a"))
    seen: list[int] = []
    sizes = forwards(lambda done, ids: None)
    left = Unfinished(path, "a")
    assert perplexity(model, blocks, 2, seen.append, unfinished=left) == whole
    assert sizes == [2, *[2, 2, 2, 2, 1][stop:]]  # the first batch is compared
    assert seen == [2 * stop, *sizes[1:]]
    left.clear()
    assert not path.exists()


def test_a_batch_size_that_was_halved_stays_halved(forwards: Spy, tmp_path: Path) -> None:
    """Out of memory from the second batch on; the process that resumes has all memory again."""
    model, blocks = build("llama"), tokens(14, 16)

    def short(done: int, ids: Tensor) -> None:
        if done and len(ids) > 2:
            raise torch.OutOfMemoryError

    def short_and_stopped(done: int, ids: Tensor) -> None:
        short(done, ids)
        stop_at(4)(done, ids)

    sizes = forwards(short)
    whole = perplexity(model, blocks, 4)
    assert sizes == [4, 2, 2, 2, 2, 2]
    forwards(short_and_stopped)
    with pytest.raises(Stopped):
        perplexity(model, blocks, 4, unfinished=Unfinished(tmp_path / "a", "a"))
    sizes = forwards(lambda done, ids: None)
    assert perplexity(model, blocks, 4, unfinished=Unfinished(tmp_path / "a", "a")) == whole
    assert sizes == [4, 2, 2]


def stopped(path: Path, identity: str = "a") -> tuple[torch.nn.Module, Tensor]:
    """A model and a text; two of its three batches are finished."""
    model, blocks = build("llama"), tokens(6, 16)
    Unfinished(path, identity).keep(parts(model, blocks)[:2])
    return model, blocks


def parts(model: torch.nn.Module, blocks: Tensor) -> list[tuple[float, int]]:
    losses = Losses(model)
    with torch.no_grad():
        return [(float(losses(ids).sum()), len(ids)) for ids in blocks.split(2)]


def test_another_model_starts_over(forwards: Spy, tmp_path: Path) -> None:
    _, blocks = stopped(tmp_path / "a")
    other = build("llama", hidden_size=48)
    sizes = forwards(lambda done, ids: None)
    found = perplexity(other, blocks, 2, unfinished=Unfinished(tmp_path / "a", "a"))
    assert sizes == [2, 2, 2, 2]
    assert found == perplexity(other, blocks, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-3],
        lambda text: text.replace('"a"', '"b"'),
        lambda text: text.replace(", 2]", ", 0]"),
        lambda text: text.replace(", 2]", ", 4]"),
        lambda text: text.replace(", 2]", "]"),
        lambda text: text.replace(", 2]", ', "x"]'),
    ],
    ids=["empty", "cut", "identity", "no sequences", "too many", "no count", "no number"],
)
def test_a_file_that_cannot_be_used_costs_the_batches_only(
    change: Callable[[str], str], forwards: Spy, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    model, blocks = stopped(path)
    path.write_text(change(path.read_text()))
    sizes = forwards(lambda done, ids: None)
    assert perplexity(model, blocks, 2, unfinished=Unfinished(path, "a")) == perplexity(
        model, blocks, 2
    )
    assert sizes[:3] == [2, 2, 2]


def test_a_disk_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model, blocks = build("llama"), tokens(4, 16)
    unfinished = Unfinished(tmp_path / "file" / "a", "a")
    assert perplexity(model, blocks, 2, unfinished=unfinished) == perplexity(model, blocks, 2)


def test_it_writes_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "EVERY_S", 10.0)
    unfinished = Unfinished(tmp_path / "a", "a", on_keep=lambda: written.append(now[0]))
    for second in range(40):
        now[0] = float(second)
        unfinished.keep([(0.1, 1)] * (second + 1))
    assert written == [10, 20, 30]
    assert len(Unfinished(tmp_path / "a", "a").read(100)) == 31


def test_each_process_resumes_at_its_own_batch(tmp_path: Path) -> None:
    models, blocks = [build("llama"), build("llama")], tokens(10, 16)

    def measure(ranks: Ranks) -> float:
        return perplexity(models[ranks.rank], share(blocks, ranks), 2, ranks=ranks)

    whole = in_processes(2, measure)
    for rank, done in ((0, 1), (1, 2)):
        known = parts(models[rank], share(blocks, Ranks(rank, 2)))[:done]
        Unfinished(tmp_path / f"{rank}", "a").keep(known)

    def resumed(ranks: Ranks) -> float:
        kept = Unfinished(tmp_path / f"{ranks.rank}", "a")
        model, own, seen = models[ranks.rank], share(blocks, ranks), list[int]()
        found = perplexity(model, own, 2, seen.append, ranks, kept)
        assert seen[0] == 2 * (ranks.rank + 1)
        return found

    assert in_processes(2, resumed) == whole


def share(blocks: Tensor, ranks: Ranks) -> Tensor:
    return blocks[ranks.share(len(blocks))]


RUN = ["eval.batch_size=2", "eval.baselines=[dense]"]


@pytest.mark.parametrize(("stage", "writes"), [("dense", 2), ("refined", 6)])
def test_a_run_killed_in_a_perplexity_resumes_there(
    stage: str, writes: int, command: Command, forks: Forks, tmp_path: Path
) -> None:
    """The text has four batches; it is killed after the second one."""
    words = [*toy_arguments(tmp_path, num_hidden_layers=2), *RUN]
    whole = command(*words, f"out={tmp_path}/apart", run="whole")
    run = [*words, f"hydra.run.dir={tmp_path}/run", f"out={tmp_path}/outputs"]
    process = forks.start(tmp_path, *run, EVERY_BATCH="1", **halt_at("-0.json", writes))

    def halted() -> bool:
        dense = any(tmp_path.glob("outputs/dense/*.json"))
        return dense == (stage == "refined") and finished_batches(tmp_path / "run") == 2

    until(lambda: halted() or process.ended())
    process.kill()
    again = forks.start(tmp_path, *run)
    assert again.wait() == 0, again.err
    assert again.out.count("resuming the perplexity") == 1
    assert "resuming the perplexity at sequence 5 of 8" in again.out
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["metrics"]["perplexity"] == whole.result["metrics"]["perplexity"]
    assert found["masks_sha256"] == whole.result["masks_sha256"]
    assert found["resumed"] == 1
    assert not (tmp_path / "run" / "state").exists()


def finished_batches(run: Path) -> int:
    """How many the only measurement under way has kept."""
    for path in run.glob("state/batches/*-0.json"):
        with suppress(OSError):
            return len(json.loads(path.read_text())["content"])
    return 0
