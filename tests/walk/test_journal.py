"""A run that is stopped goes on at the block where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.view import BlockView
from tests.support.command import Command, Outcome, toy_arguments
from tests.support.waiting import until

PRUNED = ["eval.baselines=[pruned]", "save=true"]
Undisturbed = Callable[..., Outcome]
WAYS = {"memory": [], "streamed": ["model.streaming=true"]}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return toy_arguments(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    """`undisturbed(command, *words)`: what a run that nothing stops comes to; run once."""
    found: dict[tuple[str, ...], Outcome] = {}

    def run(command: Command, *words: str) -> Outcome:
        if words not in found:
            found[words] = command(*words, run="whole")
        return found[words]

    return run


class Stopped(BaseException):
    """As sudden as kill -9: nothing handles it."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`stop_after[:] = [n]`: the run ends when the n-th block after now is about to be solved."""
    left: list[int] = []
    solve = BlockSolver.__call__

    def counted(self: BlockSolver, view: BlockView) -> object:
        if left and left[0] == 0:
            raise Stopped
        if left:
            left[0] -= 1
        return solve(self, view)

    monkeypatch.setattr(BlockSolver, "__call__", counted)
    return left


def stopped(command: Command, stop_after: list[int], blocks: int, *words: str) -> Path:
    """The state of a run that was stopped after so many blocks."""
    stop_after[:] = [blocks]
    with pytest.raises(Stopped):
        command(*words)
    stop_after.clear()
    state = command.folder / "run" / "state"
    if blocks % 3 and state.exists():
        last = f"{(blocks - 1) % 3:05d}.json"  # a thread may still be writing it
        until(lambda: any(state.rglob(last)))
    return state


def like(a: Outcome, b: Outcome) -> None:
    assert a.code == b.code == 0, a.err + b.err
    for key in ("masks_sha256", "metrics", "sparsity", "notes"):
        assert a.result[key] == b.result[key]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_a_stopped_run_goes_on_where_it_was(
    way: str,
    blocks: int,
    command: Command,
    stop_after: list[int],
    toy: list[str],
    undisturbed: Undisturbed,
) -> None:
    words = [*toy, *PRUNED, *WAYS[way]]
    whole = undisturbed(command, *words)
    state = stopped(command, stop_after, blocks, *words)
    stage, done = ("pruned", blocks) if blocks < 3 else ("refined", blocks - 3)
    solved = []
    stop_after[:] = [10**9]
    again = command(*words)
    solved.append(10**9 - stop_after[0])
    like(again, whole)
    assert solved == [6 - blocks]
    assert (whole.result["resumed"], again.result["resumed"]) == (0, 1)
    if done:
        assert f"resuming at block {done} of 3 ({stage})" in again.out
    assert not state.exists()
    names = sorted(file.name for file in (again.folder / "model").glob("*.safetensors"))
    for name in names:
        one, other = (o.folder / "model" / name for o in (whole, again))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("damaged", ["weights", "masks", "states", "entry", "states gone"])
@pytest.mark.parametrize("way", WAYS)
def test_damage_is_named_and_nothing_whole_is_done_again(
    way: str,
    damaged: str,
    command: Command,
    stop_after: list[int],
    toy: list[str],
    undisturbed: Undisturbed,
) -> None:
    words = [*toy, *WAYS[way]]
    whole = undisturbed(command, *words)
    state = stopped(command, stop_after, 2, *words) / "refined"
    file = {
        "weights": state / "model" / "model-00002-of-00004.safetensors",
        "masks": state / "masks" / "00001.safetensors",
        "states": state / "states" / "00001.safetensors",
        "states gone": state / "states" / "00001.safetensors",
        "entry": state / "00001.json",
    }[damaged]
    if damaged == "states gone":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1 << 7
        file.write_bytes(content)
    stop_after[:] = [10**9]
    again = command(*words)
    like(again, whole)
    assert str(file) in again.out
    assert "damaged" in again.out
    assert 10**9 - stop_after[0] == (1 if damaged.startswith("states") else 2)


def test_resume_false_starts_over_and_never_keeps_nothing(
    command: Command, stop_after: list[int], toy: list[str]
) -> None:
    stopped(command, stop_after, 2, *toy)
    stop_after[:] = [10**9]
    assert "resuming" not in command(*toy, "resume=false").out
    assert 10**9 - stop_after[0] == 3
    assert not stopped(command, stop_after, 2, *toy, "resume=never", "rerun=true").exists()


def test_a_run_killed_after_its_last_word_leaves_nothing(
    command: Command, stop_after: list[int], toy: list[str]
) -> None:
    state = stopped(command, stop_after, 2, *toy)
    left = shutil.copytree(state, command.folder / "left")
    command(*toy)
    shutil.copytree(left, state)
    assert "resuming" not in command(*toy, "rerun=true").out
    shutil.copytree(left, state)
    assert "already finished" in command(*toy).out
    assert not state.exists()


def test_another_configuration_in_the_same_folder_starts_over(
    command: Command, stop_after: list[int], toy: list[str]
) -> None:
    stopped(command, stop_after, 2, *toy)
    other = command(*toy, "sparsity=0.7")
    assert "resuming" not in other.out
    like(other, command(*toy, "sparsity=0.7", run="other"))


def test_what_was_measured_of_the_sparse_model_is_not_measured_again(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = toy_arguments(tmp_path)
    texts = f"eval.perplexity=[{tmp_path}/test.safetensors,{tmp_path}/calib.safetensors]"
    from dsnot_exp.evaluate import suite

    measured, measure = [], suite.perplexity

    def second_fails(*given: object) -> float:
        measured.append(given)
        if len(measured) == 2:
            raise Stopped
        return measure(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(suite, "perplexity", second_fails)
    with pytest.raises(Stopped):
        command(*words, texts)
    passed, enter = [], Sequences.enter
    monkeypatch.setattr(Sequences, "enter", lambda self: (passed.append(1), enter(self)))
    again = command(*words, texts)
    assert len(measured) == 3
    assert not passed  # every block is solved: no sequence goes through any
    assert again.result["reused"] == []
    like(again, command(*words, texts, run="whole"))


@pytest.mark.parametrize(
    ("error", "said"), [(28, "No space left on device"), (30, "Read-only file system")]
)
def test_a_disk_that_takes_no_more_is_named_and_what_was_written_is_kept(
    error: int,
    said: str,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    toy: list[str],
    undisturbed: Undisturbed,
) -> None:
    fsync, synced = os.fsync, []

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) > 12:
            raise OSError(error, os.strerror(error))
        fsync(handle)

    monkeypatch.setattr("os.fsync", full)
    failed = command(*toy)
    assert failed.code == 1
    assert f"{command.folder}/run/state" in failed.err
    assert said in failed.err
    assert "resume=never" in failed.err
    assert len(failed.err.splitlines()) == 1
    monkeypatch.setattr("os.fsync", fsync)
    again = command(*toy)
    assert "resuming at block" in again.out
    like(again, undisturbed(command, *toy))


def test_too_little_room_is_said_before_anything_starts(
    command: Command, monkeypatch: pytest.MonkeyPatch, toy: list[str]
) -> None:
    monkeypatch.setattr("dsnot_exp.run.state.free_bytes", lambda folder: 1000)
    done = command(*toy)
    assert done.code == 1
    assert "resume=never" in done.err
    assert "GiB free" in done.err
    assert command(*toy, "resume=never").code == 0


def test_a_state_is_fsynced_before_its_block_counts(
    command: Command, monkeypatch: pytest.MonkeyPatch, toy: list[str]
) -> None:
    """The entry names what is already whole on disk."""
    replace, order = os.replace, []

    def noted(source: str, target: str | Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr("os.replace", noted)
    command(*toy)
    first = order.index("00000.json")
    assert {"model-00001-of-00004.safetensors", "00000.safetensors"} <= set(order[:first])
    assert order.count("00000.safetensors") == 2  # masks and states


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """The real thing: a process of its own, killed and started again until it ends."""
    words = [*toy_arguments(tmp_path, num_hidden_layers=6), "eval.baselines=[pruned]"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    hashes = set()
    for run in ("whole", "killed"):
        command = [sys.executable, "-m", "dsnot_exp", f"hydra.run.dir={tmp_path / run}", *words]
        chance = random.Random(0)
        while True:
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            if run == "killed" and chance.random() < 0.8 and not _ended(process, tmp_path, chance):
                process.send_signal(signal.SIGKILL)
                process.communicate()
                continue
            _, err = process.communicate()
            assert process.returncode == 0, err.decode()
            break
        hashes.add(json.loads((tmp_path / run / "result.json").read_text())["masks_sha256"])
        shutil.rmtree(tmp_path / run / "wandb", ignore_errors=True)
    assert len(hashes) == 1


def _ended(process: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> bool:
    """Wait until a walk is under way and a little longer; whether the process ended before."""
    state = folder / "killed" / "state"
    started = list(state.rglob("*"))
    while process.poll() is None and list(state.rglob("*")) == started:
        time.sleep(0.002)
    time.sleep(chance.random() * 0.05)
    return process.poll() is not None
