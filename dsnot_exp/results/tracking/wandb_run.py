"""A run at Weights & Biases, from its start to its end.

An online run that resumes goes on under its id; rows that W&B has already are not sent again. An
offline run has one folder per process, and `wandb sync` appends the rows of each. So the newest
folder is told the earlier events, which makes it whole, and the older ones are removed when the run
ends. Where an older one has been uploaded already, the newest starts after its rows.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from dsnot_exp.results.file import write_result
from dsnot_exp.results.tracking.tracker import Begun, Event
from dsnot_exp.results.tracking.values import axis_of
from dsnot_exp.results.tracking.wandb_tables import media
from dsnot_exp.results.tracking.wandb_words import QUIET, job_type, summary, tags
from dsnot_exp.utils.console import say

log = logging.getLogger(__name__)
FLUSH_S = 1.0  # a killed run loses no more of its offline file; W&B's default is 15
ROWS = "rows"  # a file in the folder of an offline run: how many it holds or follows
ANSWER_S = 30.0  # for the server, at the start; the run goes on meanwhile
UPLOAD_S = 120.0  # at the end of a run; what is not uploaded by then stays on disk


class WandbRun:
    """online: else offline"""

    def __init__(self, online: bool) -> None:
        self.online = online
        self.run: Any = None
        self.begun: Begun | None = None
        self.axes: set[str] = set()
        self.first = 0  # number of the first event that W&B does not have
        self.next = 0  # step of the next row

    def start(self, begun: Begun, earlier: list[Event]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # send no crash reports to W&B
        self.begun = begun
        if self.online:
            try:
                self.run = self._begin("online")
            except Exception as error:  # no login, no network: nothing is lost offline
                log.exception("W&B")
                self.online = False
                reason = (str(error).splitlines() or [repr(error)])[0]
                say(f"wandb     goes on offline: {reason}")
                self._forget()
        if self.run is None:
            uploaded = rows_uploaded(begun, len(earlier))
            self.run = self._begin("offline")
            self.first = uploaded
        else:
            self.first = self.run.starting_step
        self.next = self.first
        for event in earlier:
            self.log(event)

    def log(self, event: Event) -> None:
        """One row. Rows that W&B has of an earlier process are left out."""
        if event.number < self.first:
            return
        self.next = event.number + 1
        row: dict[str, float] = {**event.values, **event.account}
        if event.block is not None:
            row |= self._on_axis(event)
        self.run.log(row, step=event.number, commit=True)

    def finish(self, result: dict[str, Any], figure: Path | None) -> str:
        assert self.begun is not None
        copy = write_result(Path(self.run.dir), result)
        self.run.save(copy, base_path=copy.parent, policy="end")
        self.run.log(media(result, figure), step=self.next, commit=True)
        self.next += 1
        self.run.summary.update(summary(result))
        self._end(0 if result["status"] == "finished" else 1)
        if self.run.url:
            return str(self.run.url)
        return f"offline; to upload: wandb sync {shlex.quote(str(Path(self.run.dir).parent))}"

    def crash(self, exit_code: int) -> None:
        self._end(exit_code)

    def _begin(self, mode: str) -> Any:
        import wandb

        assert self.begun is not None
        config = self.begun.config
        given = config["wandb"]
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ValueError("not logged in; run wandb login, or set WANDB_API_KEY")
        own: dict[str, Any] = {"mode": mode, "reinit": "finish_previous"}
        return wandb.init(
            **own,
            project=given["project"],
            entity=given["entity"],
            group=given["group"] or config["sweep"],
            job_type=job_type(config),
            tags=tags(config),
            id=self.begun.identity,
            resume="allow" if mode == "online" else None,
            name=self.begun.folder.name,
            dir=self.begun.folder,
            config=config,
            settings=wandb.Settings(
                **QUIET,
                init_timeout=ANSWER_S,
                x_transaction_log_flush_interval=FLUSH_S,
                finish_timeout=UPLOAD_S,
            ),
        )

    def _forget(self) -> None:
        """Let W&B's own process end: it holds the id of the run that could not begin."""
        import wandb

        wandb.teardown(exit_code=1)

    def _on_axis(self, event: Event) -> dict[str, float]:
        """The block as the axis of its values. They stay out of the summary, where the values of
        the last block would be mistaken for the model's."""
        assert event.block is not None
        axis = axis_of(event.stage)
        if axis not in self.axes:
            self.run.define_metric(axis, hidden=True, summary="none")
        for name in sorted(event.values.keys() - self.axes):
            literal = name.replace(".", r"\.")  # a plain dot would mean a value inside another
            self.run.define_metric(literal, step_metric=axis, summary="none")
        self.axes |= {axis, *event.values}
        return {axis: event.block}

    def _end(self, exit_code: int) -> None:
        assert self.begun is not None
        kept = Path(self.run.dir).parent
        self.run.finish(exit_code=exit_code)
        for logs in self.begun.folder.glob("wandb/*/logs"):  # contain paths; `sync` needs none
            shutil.rmtree(logs, ignore_errors=True)
        (kept / ROWS).write_text(f"{self.next}\n")
        for older in offline_folders(self.begun):
            if older.name != kept.name and not uploaded(older):
                shutil.rmtree(older, ignore_errors=True)


def rows_uploaded(begun: Begun, events: int) -> int:
    """How many rows of this run `wandb sync` has uploaded from the folders of earlier processes.
    A process that was killed had `events`, all that are known so far."""
    for folder in offline_folders(begun):
        if not (folder / ROWS).exists():
            (folder / ROWS).write_text(f"{events}\n")
    rows = [(folder / ROWS).read_text() for folder in offline_folders(begun) if uploaded(folder)]
    return max(map(int, rows), default=0)


def offline_folders(begun: Begun) -> list[Path]:
    return list(begun.folder.glob(f"wandb/offline-run-*-{begun.identity}"))


def uploaded(folder: Path) -> bool:
    """Whether `wandb sync` has left its mark."""
    return any(folder.glob("*.wandb.synced"))
