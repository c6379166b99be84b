"""What a run that is not finished yet has done: `state/` in its folder, gone once it is."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnot_exp.evaluate.store import Store
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import free_bytes
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.fingerprint import code_fingerprint
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.utils.files import read_told, write_told, writing_state
from dsnot_exp.walk.journal import Journal

log = logging.getLogger(__name__)

NAME = "state"
ACCOUNT = "account"
GIB = 2**30


@dataclass(frozen=True)
class RunState:
    """One walk's journal per stage, what was measured of the sparse model, and the time it took.

    identity: of the run; a state of another run, or of other code, is not used
    keeps: resume=never does not, but for the blocks of a model that would not fit into memory
    """

    folder: Path
    identity: str
    clock: Clock
    keeps: bool
    ranks: Ranks

    @classmethod
    def of(cls, run_folder: Path, config_hash: str, plan: Plan) -> RunState:
        told = f"{config_hash} {code_fingerprint()} {plan.ranks.size}"
        identity = hashlib.sha256(told.encode()).hexdigest()
        keeps = plan.config.resume != "never"
        return cls(run_folder / NAME, identity, Clock(plan.device), keeps, plan.ranks)

    def clear(self) -> None:
        self._remove(self.folder)

    def clear_if_before(self, result: float | None) -> None:
        """Forget what led to a result that was written since: a rerun goes on with its own only."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        last = max((file.stat().st_mtime for file in files), default=0.0)
        if self.ranks.of_first(result is not None and last < result):
            self.clear()

    def journal(self, stage: str, placed: Placed) -> Journal | None:
        """Open, with what is finished of the walk given back to the model. A model that comes from
        disk goes back there, whatever is kept."""
        if not self.keeps and not isinstance(placed, Streamed):
            return None
        folder, identity = self.folder / stage, f"{self.identity} {stage}"
        journal = Journal(folder, identity, placed, self.ranks, say, self.tick)
        journal.open()
        return journal

    def store(self, stage: str) -> Store:
        """Each measurement counts once it is made, also where the evaluation is interrupted."""
        folder = self.folder / "measured" if self.keeps else None
        common = {"run": self.identity, "stage": stage}
        return Store(folder, common, ranks=self.ranks, on_keep=self.tick)

    def remember(self, stage: str, metrics: dict[str, Any]) -> None:
        """A stage is evaluated: its model is not needed again."""
        self._write(stage, metrics)

    def recall(self, stage: str) -> dict[str, Any] | None:
        return self.ranks.of_first(self._read(stage) if self.ranks.first else None)

    def tick(self) -> None:
        """Something more is about to count: note what the run has taken so far."""
        try:
            self._write(ACCOUNT, self.clock.account())
        except RunError as error:  # a few seconds are no reason to end
            log.warning("%s", error)

    def go_on(self) -> None:
        """Let the clock count what the processes took that this one takes over from."""
        account = self._read(ACCOUNT)
        if account is not None:
            self.clock.go_on(account)

    def refuse_full_disk(self, needed: int) -> None:
        """Better now than in the middle of the night."""
        if not self.keeps:
            return
        held = sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())
        free = free_bytes(self.folder.parent)
        if needed > held + free:
            raise RunError(
                f"{self.folder}: {free / GIB:.1f} GiB free, and the state of this run takes up to "
                f"{(needed - held) / GIB:.1f} GiB more until it is finished; make room, choose "
                "another out=, or resume=never, which keeps none"
            )

    def forget_walk(self, stage: str) -> None:
        self._remove(self.folder / stage)

    def _remove(self, folder: Path) -> None:
        """Once nobody reads it any more, and before anybody writes there again."""
        self.ranks.wait()
        if self.ranks.first:
            shutil.rmtree(folder, ignore_errors=True)
        self.ranks.wait()

    def _write(self, name: str, told: dict[str, Any]) -> None:
        if not self.keeps or not self.ranks.first:
            return
        with writing_state(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_told(self.folder / f"{name}.json", self.identity, told)

    def _read(self, name: str) -> dict[str, Any] | None:
        told: dict[str, Any] | None = read_told(self.folder / f"{name}.json", self.identity)
        return told
