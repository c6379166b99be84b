"""A stopped run resumes at its next block and ends with the result of an uninterrupted one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.view import BlockView
from tests.support.command import Command, Outcome, toy_arguments
from tests.support.forks import Fork, Forks
from tests.support.waiting import halt_at, until

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
            apart = "out=apart"  # or the tested run would find its measurements
            found[words] = command(*words, apart, run="whole")
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


@pytest.mark.parametrize(
    ("way", "blocks"),
    [("memory", 1), ("memory", 3), ("memory", 5), ("streamed", 2), ("streamed", 4)],
)
def test_a_stopped_run_resumes_at_its_next_block(
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


@pytest.mark.parametrize(
    ("way", "damaged"),
    [
        ("memory", "weights"),
        ("memory", "masks"),
        ("memory", "states"),
        ("memory", "states gone"),
        ("streamed", "weights"),
        ("streamed", "states"),
        ("streamed", "entry"),
    ],
)
def test_a_damaged_file_is_named_and_intact_blocks_are_kept(
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


CORRECTED = ["prune=sparsegpt", "refine=none", "calib.target.alpha=0.5", "calib.target.beta=0.25"]


@pytest.mark.parametrize("way", WAYS)
def test_a_walk_with_a_dense_stream_resumes_at_its_next_block(
    way: str,
    command: Command,
    stop_after: list[int],
    toy: list[str],
    undisturbed: Undisturbed,
) -> None:
    words = [*toy, *CORRECTED, *WAYS[way]]
    whole = undisturbed(command, *words)
    stopped(command, stop_after, 2, *words)
    stop_after[:] = [10**9]
    again = command(*words)
    like(again, whole)
    assert "resuming at block 2 of 3" in again.out
    assert 10**9 - stop_after[0] == 1


@pytest.mark.parametrize(
    ("damaged", "solved"), [("states/00001.safetensors", 3), ("masks/00000.safetensors", 3)]
)
def test_a_dense_stream_that_is_lost_cannot_be_recomputed(
    damaged: str,
    solved: int,
    command: Command,
    stop_after: list[int],
    toy: list[str],
    undisturbed: Undisturbed,
) -> None:
    words = [*toy, *CORRECTED]
    whole = undisturbed(command, *words)
    file = stopped(command, stop_after, 2, *words) / "refined" / damaged
    file.write_bytes(file.read_bytes()[:-8])
    stop_after[:] = [10**9]
    again = command(*words)
    like(again, whole)
    assert str(file) in again.out
    assert 10**9 - stop_after[0] == solved


def test_resume_false_starts_over_and_resume_never_keeps_no_state(
    command: Command, stop_after: list[int], toy: list[str]
) -> None:
    stopped(command, stop_after, 2, *toy)
    stop_after[:] = [10**9]
    assert "resuming" not in command(*toy, "resume=false").out
    assert 10**9 - stop_after[0] == 3
    assert not stopped(command, stop_after, 2, *toy, "resume=never", "rerun=true").exists()


def test_state_is_deleted_when_a_finished_run_is_started_again(
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


def test_a_resumed_run_reuses_the_measurements_of_the_sparse_model(
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
    monkeypatch.setattr(Sequences, "enter", lambda self: (passed.append(self.count), enter(self)))
    again = command(*words, texts)
    assert len(measured) == 3
    assert not any(passed)  # every block is solved: no sequence goes through any
    assert again.result["reused"] == []
    like(again, command(*words, texts, "out=apart", run="whole"))


@pytest.mark.parametrize(
    ("error", "said"), [(28, "No space left on device"), (30, "Read-only file system")]
)
def test_a_full_or_read_only_disk_is_named_and_finished_blocks_are_kept(
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
    failed = command(*toy, "keep=none")  # the kept masks are files too
    assert failed.code == 1
    assert f"{command.folder}/run/state" in failed.err
    assert said in failed.err
    assert "resume=never" in failed.err
    assert len(failed.err.splitlines()) == 1
    monkeypatch.setattr("os.fsync", fsync)
    again = command(*toy)
    assert "resuming at block" in again.out
    like(again, undisturbed(command, *toy))


def test_too_little_disk_space_is_refused_before_the_run_starts(
    command: Command, monkeypatch: pytest.MonkeyPatch, toy: list[str]
) -> None:
    monkeypatch.setattr("dsnot_exp.run.state.free_bytes", lambda folder: 1000)
    done = command(*toy)
    assert done.code == 1
    assert "resume=never" in done.err
    assert "GiB free" in done.err
    assert command(*toy, "resume=never").code == 0


def test_the_entry_of_a_block_is_written_after_its_files(
    command: Command, monkeypatch: pytest.MonkeyPatch, toy: list[str]
) -> None:
    """The entry names what is already whole on disk."""
    replace, order = os.replace, []

    def noted(source: str, target: str | Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr("os.replace", noted)
    command(*toy, "keep=none")  # the kept masks have the same names
    first = order.index("00000.json")
    assert {"model-00001-of-00004.safetensors", "00000.safetensors"} <= set(order[:first])
    assert order.count("00000.safetensors") == 2  # masks and states


# The last file that a process writes before it is killed, and where the next one resumes.
MOMENTS = {
    "state/pruned/model/model-00001-of-00004.safetensors": "",
    "state/pruned/states/00000.safetensors": "",
    "state/pruned/00000.json": "1 of 3 (pruned)",
    "state/pruned/states/00001.safetensors": "1 of 3 (pruned)",
    "state/pruned.json": "",
    "state/refined/00001.json": "2 of 3 (refined)",
    "result.json": "",
}


def resumes(process: Fork) -> str:
    """Where a process has resumed."""
    _, found, rest = process.out.partition("resuming at block ")
    return rest.splitlines()[0] if found else ""


def test_kill_9_at_any_write_loses_no_finished_block(
    command: Command, forks: Forks, tmp_path: Path, toy: list[str]
) -> None:
    """A process of its own, which is killed and started again until it ends."""
    words = [*toy, "eval.baselines=[pruned]"]
    whole = command(*words, "out=apart", run="whole").result
    folder = tmp_path / "killed"
    words.append(f"hydra.run.dir={folder}")
    resumed = ""
    for path, next_resumes in MOMENTS.items():
        process = forks.start(tmp_path, *words, **halt_at(f"killed/{path}"))
        process.kill_at(folder / path)
        assert resumes(process) == resumed
        resumed = next_resumes
    last = forks.start(tmp_path, *words)
    assert last.wait() == 0
    assert "already finished" in last.out
    result = json.loads((folder / "result.json").read_text())
    for key in ("masks_sha256", "metrics", "sparsity"):
        assert result[key] == whole[key]
    assert result["resumed"] > 0
    assert not (folder / "state").exists()
