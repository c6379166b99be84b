"""The journal of a walk: its files, and what may differ when the walk resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.shards import Shards
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.finished_block import FinishedBlock
from dsnot_exp.walk.hidden_states import Storage
from dsnot_exp.walk.journal import Journal
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.sparsify import sparsify
from tests.support.families import build, tokens

IDS = tokens(7, 16)
RECIPE = Recipe(Unstructured(0.5), Wanda(), DSnoT(max_cycles=3))


class Stopped(Exception):
    """Stands for the end of the process."""


class Several(Ranks):
    """One of two processes; the other one does the same."""

    def of_first(self, value: int) -> int:
        return value

    def wait(self) -> None: ...


@dataclass
class Walk:
    """A walk with its journal. `solved`: the blocks that were solved, and the lines it noted.

    placed: a toy whose first `finished` blocks the journal has restored
    """

    folder: Path
    identity: str = "walk"
    placed: Placed = field(default_factory=lambda: toy())
    on_keep: Callable[[], None] = lambda: None
    ranks: Ranks = field(default_factory=Ranks)
    solved: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = Journal(
            self.folder,
            self.identity,
            self.placed,
            self.ranks,
            on_note=self.notes.append,
            on_keep=self.on_keep,
        )
        self.journal.open()

    def __call__(
        self, stop_at: int | None = None, batch_size: int = 7, states: str = "memory"
    ) -> Sparsified:
        """To the end, or until block `stop_at` is about to be solved."""

        def on_layer(layer: str) -> None:
            index = int(layer.split(".")[2])
            if index == stop_at:
                raise Stopped
            if index not in self.solved:
                self.solved.append(index)

        options = {"storage": Storage(states), "batch_size": batch_size, "on_layer": on_layer}
        return sparsify(self.placed, IDS, RECIPE, journal=self.journal, **options)

    def until(self, block: int, batch_size: int = 7) -> None:
        """Stop before `block`, once the blocks before it are on disk."""
        with pytest.raises(Stopped):
            self(block, batch_size)
        self.journal.settle()

    @property
    def weights(self) -> list[Tensor]:
        return list(self.placed.model.state_dict().values())


def toy() -> Placed:
    model = build("llama", num_hidden_layers=4)
    return place(model, find_blocks(model), torch.device("cpu"))


@dataclass
class Whole:
    """What a walk that nothing stops comes to."""

    sparse: Sparsified
    weights: list[Tensor]

    def same(self, walk: Walk, sparse: Sparsified) -> bool:
        assert [r.layer for r in sparse.records] == [r.layer for r in self.sparse.records]
        return sparse.masks_sha256 == self.sparse.masks_sha256 and all(
            torch.equal(a, b) for a, b in zip(walk.weights, self.weights, strict=True)
        )

    def near(self, walk: Walk) -> bool:
        """Sums over other batches are rounded otherwise: one entry in a thousand may differ."""
        pairs = list(zip(walk.weights, self.weights, strict=True))
        unequal = sum(int(((a == 0) != (b == 0)).sum()) for a, b in pairs)
        return unequal <= 1e-3 * sum(a.numel() for a, _ in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    walk = Walk(tmp_path_factory.mktemp("whole"))
    return Whole(walk(), walk.weights)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("states", ["memory", "disk"])
def test_only_the_hidden_states_of_the_last_finished_block_are_kept(
    states: str, tmp_path: Path, whole: Whole
) -> None:
    kept: list[tuple[list[str], list[str]]] = []

    def on_keep() -> None:
        folder = tmp_path / "state"
        kept.append((names(folder / "states"), sorted(f.name for f in folder.glob("0*.json"))))

    walk = Walk(tmp_path / "state", on_keep=on_keep)
    sparse = walk(states=states)
    entries = [f"{index:05d}.json" for index in range(4)]
    states_of = [f"{index:05d}.safetensors" for index in range(4)]
    # Before an entry is written, its own states are there, and those of the block before.
    assert kept == [
        ([states_of[0]], []),
        (states_of[0:2], entries[:1]),
        (states_of[1:3], entries[:2]),
        (states_of[2:4], entries[:3]),
    ]
    assert names(tmp_path / "state" / "states") == states_of[3:]
    assert Shards([tmp_path / "state" / "states" / states_of[3]]).entries == {}
    assert names(tmp_path / "state" / "masks") == states_of
    assert names(tmp_path / "state") == [*entries, "masks", "model", "states", "walk.json"]
    assert whole.same(walk, sparse)


@pytest.mark.parametrize(
    ("first", "then"), [(7, 1), (7, 3), (4, 3), (3, 2), (1, 7), (2, 7), (2, 3), (3, 4)]
)
def test_a_walk_resumes_with_another_batch_size(
    first: int, then: int, tmp_path: Path, whole: Whole
) -> None:
    """Of seven sequences."""
    Walk(tmp_path / "state").until(2, first)
    again = Walk(tmp_path / "state")
    again(batch_size=then)
    assert again.solved == [2, 3]
    assert again.notes == []
    assert whole.near(again)


def test_a_walk_resumes_with_less_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Whole
) -> None:
    """All seven sequences fitted into one forward at first; three do when it is resumed."""
    Walk(tmp_path / "state").until(2)
    again = Walk(tmp_path / "state")

    def full(module: object, args: tuple[Tensor, ...]) -> None:
        if len(args[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    again.placed.model.model.embed_tokens.register_forward_pre_hook(full)
    again()
    assert "out of memory" in capsys.readouterr().out
    assert again.solved == [2, 3]
    assert whole.near(again)


def test_a_resumed_walk_keeps_the_smaller_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What did not fit once is not tried again, and sums are rounded as before."""
    Walk(tmp_path / "state").until(2, 2)
    sizes: list[int] = []
    propagate = Sequences.propagate
    monkeypatch.setattr(
        Sequences,
        "propagate",
        lambda self, *given: (sizes.append(self.size), propagate(self, *given)),
    )
    Walk(tmp_path / "state")(batch_size=7)
    assert sizes == [2]


def test_another_identity_starts_over(tmp_path: Path) -> None:
    Walk(tmp_path / "state").until(2)
    (tmp_path / "state" / "stray").write_text("")
    other = Walk(tmp_path / "state", "another walk")
    assert other.journal.finished == 0
    assert names(tmp_path / "state") == ["masks", "model", "states", "walk.json"]
    other()
    assert other.solved == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"identity": "walk"}'])
def test_a_journal_without_a_readable_identity_starts_over(text: str, tmp_path: Path) -> None:
    Walk(tmp_path / "state").until(2)
    (tmp_path / "state" / "walk.json").write_text(text)
    assert Walk(tmp_path / "state").journal.finished == 0


def test_the_entry_of_another_block_is_refused(tmp_path: Path, whole: Whole) -> None:
    """Its seal is right, and the files beside it are not those that it names."""
    Walk(tmp_path / "state").until(3)
    entry = tmp_path / "state" / "00001.json"
    entry.write_bytes((tmp_path / "state" / "00000.json").read_bytes())
    again = Walk(tmp_path / "state")
    assert again.journal.finished == 1
    (note,) = again.notes
    assert "model-00002-of-00005" in note
    assert "damaged" in note
    assert whole.same(again, again())
    assert again.solved == [1, 2, 3]


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    Walk(tmp_path / "state").until(2)
    entry = tmp_path / "state" / "00001.json"
    content = entry.read_bytes()
    assert content.count(b'"zeros": 512') == 4  # q, k, v and o
    entry.write_bytes(content.replace(b'"zeros": 512', b'"zeros": 511', 1))
    again = Walk(tmp_path / "state")
    assert again.journal.finished == 1
    assert f"{entry}: damaged" in again.notes[0]


@pytest.mark.parametrize("part", ["model", "masks"])
def test_blocks_after_a_missing_file_do_not_count(part: str, tmp_path: Path, whole: Whole) -> None:
    Walk(tmp_path / "state").until(3)
    missing = next(file for file in sorted((tmp_path / "state" / part).iterdir())[1:])
    missing.unlink()
    again = Walk(tmp_path / "state")
    assert again.journal.finished == 1
    assert f"{missing}: damaged (No such file" in again.notes[0]
    assert whole.same(again, again())


def test_damaged_states_are_recomputed(tmp_path: Path, whole: Whole) -> None:
    Walk(tmp_path / "state").until(2)
    states = tmp_path / "state" / "states" / "00001.safetensors"
    content = bytearray(states.read_bytes())
    content[-1] ^= 1
    states.write_bytes(content)
    again = Walk(tmp_path / "state")
    assert whole.same(again, again())
    assert again.solved == [2, 3]
    assert f"{states}: damaged" in again.notes[0]


def test_a_finished_walk_is_restored_without_a_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Whole
) -> None:
    Walk(tmp_path / "state")()
    again = Walk(tmp_path / "state")
    assert again.journal.finished == 4
    monkeypatch.setattr(Sequences, "enter", None)
    sparse = again()
    monkeypatch.undo()
    assert again.solved == []
    assert whole.same(again, sparse)


def test_of_several_processes_only_the_first_writes(tmp_path: Path, whole: Whole) -> None:
    """Each process has the hidden states of its own sequences only, so that none are saved."""
    folder = tmp_path / "state"
    Walk(folder, ranks=Several(0, 2)).until(2)
    assert names(folder / "states") == ["00001.safetensors"]
    assert Shards([folder / "states" / "00001.safetensors"]).entries == {}
    second = Walk(tmp_path / "other", ranks=Several(1, 2))
    second()
    assert not (tmp_path / "other").exists()
    again = Walk(folder, ranks=Several(0, 2))
    assert again.journal.finished == 2
    assert whole.same(again, again())
    assert again.solved == [2, 3]
    assert again.notes == []


def test_the_other_processes_restore_as_many_blocks_as_the_first(tmp_path: Path) -> None:
    class Second(Several):
        def of_first(self, value: int) -> int:
            return 1

    Walk(tmp_path / "state").until(2)
    other = Walk(tmp_path / "state", "another walk", ranks=Second(1, 2))
    assert other.journal.finished == 1
    assert (tmp_path / "state" / "00001.json").exists()  # it deletes nothing


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_walk_resumes_at_every_block(stop: int, tmp_path: Path, whole: Whole) -> None:
    Walk(tmp_path / "state").until(stop)
    again = Walk(tmp_path / "state")
    assert whole.same(again, again())
    assert again.solved == list(range(stop, 4))
    assert again.notes == []
    assert again.journal.finished == 4


def test_a_block_without_its_entry_is_solved_again(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends right before it writes the entry; the states of the block before remain."""

    def end(entry: FinishedBlock, path: Path) -> None:
        if path.name == "00001.json":
            raise Stopped
        write(entry, path)

    write = FinishedBlock.write
    monkeypatch.setattr(FinishedBlock, "write", end)
    with pytest.raises(Stopped):
        Walk(tmp_path / "state")()
    monkeypatch.undo()
    again = Walk(tmp_path / "state")
    assert whole.same(again, again())
    assert again.solved == [1, 2, 3]
    assert again.notes == []
