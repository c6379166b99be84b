"""The state of an unfinished run, in `state/` in its folder; deleted when the run finishes."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnot_exp.evaluate.store import Store
from dsnot_exp.evaluate.unfinished import Unfinished
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import free_bytes
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.results.file import STATE
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.content import code_fingerprint
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.utils.files import bytes_of, read_sealed, write_sealed, writing_state
from dsnot_exp.walk.journal import Journal

log = logging.getLogger(__name__)

ACCOUNT = "account"
GIB = 2**30


@dataclass(frozen=True)
class RunState:
    """A journal per stage, the measurements of the sparse model, and the time taken so far.

    identity: hash of the run and of the code; state with another identity is ignored
    keeps: whether to keep state; false with resume=never, which still writes the blocks of a
        streamed model, because they do not fit into memory
    """

    folder: Path
    identity: str
    clock: Clock
    keeps: bool
    ranks: Ranks

    @classmethod
    def of(cls, run_folder: Path, config_hash: str, plan: Plan) -> RunState:
        text = f"{config_hash} {code_fingerprint()} {plan.ranks.size}"
        identity = hashlib.sha256(text.encode()).hexdigest()
        keeps = plan.config.resume != "never"
        return cls(run_folder / STATE, identity, Clock(plan.device), keeps, plan.ranks)

    def clear(self) -> None:
        self._remove(self.folder)

    def clear_if_before(self, result: float | None) -> None:
        """Delete state older than the existing result, so that `rerun=true` resumes only its own
        work."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        last = max((file.stat().st_mtime for file in files), default=0.0)
        if self.ranks.of_first(result is not None and last < result):
            self.clear()

    def journal(
        self, stage: str, placed: Placed, has_dense: bool = False, allocation: str = ""
    ) -> Journal | None:
        """Open the journal of a stage and restore its finished blocks into the model. A streamed
        model always has one: its finished blocks go to disk.

        allocation: a hash of what each layer was given; blocks solved under another one do not
            count
        """
        if not self.keeps and not isinstance(placed, Streamed):
            return None
        folder, identity = self.folder / stage, f"{self.identity} {stage} {allocation}"
        tools = self.ranks, say, self.save_clock, has_dense
        journal = Journal(folder, identity, placed, *tools)
        journal.open()
        return journal

    def store(self, stage: str) -> Store:
        """Keeps each measurement of a stage as soon as it is made."""
        folder = self.folder / "measured" if self.keeps else None
        common = {"run": self.identity, "stage": stage}
        return Store(folder, common, ranks=self.ranks, on_keep=self.save_clock)

    def unfinished(self, key: dict[str, Any]) -> Unfinished:
        """Keeps the batches of a perplexity that are finished. `key`: what they depend on besides
        the run and the code"""
        if not self.keeps:
            return Unfinished()
        text = json.dumps({"run": self.identity, **key}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        name = f"{digest[:32]}-{self.ranks.rank}.json"
        return Unfinished(self.folder / "batches" / name, digest, self.save_clock)

    def remember(self, stage: str, metrics: dict[str, Any]) -> None:
        """Save the metrics of an evaluated stage, whose model is not needed again."""
        self._write(stage, metrics)

    def recall(self, stage: str) -> dict[str, Any] | None:
        """The metrics that `remember` saved, if any."""
        return self.ranks.of_first(self._read(stage) if self.ranks.first else None)

    def save_clock(self) -> None:
        """Save time and memory so far; called before each block or measurement is saved."""
        try:
            self._write(ACCOUNT, self.clock.account())
        except RunError as error:  # losing a few seconds of timing need not stop the run
            log.warning("%s", error)

    def resume_clock(self) -> None:
        """Add the time of this run's earlier processes to the clock."""
        account = self._read(ACCOUNT)
        if account is not None:
            self.clock.add_earlier(account)

    def refuse_full_disk(self, needed: int) -> None:
        """Raise up front if the disk cannot hold `needed` bytes of state."""
        if not self.keeps:
            return
        held = bytes_of(self.folder)
        free = free_bytes(self.folder.parent)
        if needed > held + free:
            raise RunError(
                f"{self.folder}: {free / GIB:.1f} GiB free, but this run's state needs up to "
                f"{(needed - held) / GIB:.1f} GiB more; free some space, set another out=, or run "
                "without state (resume=never)"
            )

    def clear_stage(self, stage: str) -> None:
        """Delete the journal of a stage."""
        self._remove(self.folder / stage)

    def _remove(self, folder: Path) -> None:
        """Delete `folder` while no process reads or writes it."""
        self.ranks.wait()
        if self.ranks.first:
            shutil.rmtree(folder, ignore_errors=True)
        self.ranks.wait()

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if not self.keeps or not self.ranks.first:
            return
        with writing_state(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_sealed(self.folder / f"{name}.json", self.identity, content)

    def _read(self, name: str) -> dict[str, Any] | None:
        content: dict[str, Any] | None = read_sealed(self.folder / f"{name}.json", self.identity)
        return content
