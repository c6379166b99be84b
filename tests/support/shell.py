"""The real command in processes of their own, with a hub and a cache of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnot_exp.evaluate.task_index import builtin_tasks
from dsnot_exp.utils.paths import cache
from tests.support.hub_server import Hub

# The command as often as asked for, each time in a fork: torch and transformers import slowly.
COMMANDS = """
import json, os, sys
from tests.support.forked import run_command, warm
warm()
if TASKS:
    from dsnot_exp.evaluate.task_index import builtin_tasks
    builtin_tasks()
for line in sys.stdin:
    folder, arguments, environment = json.loads(line)
    if os.fork() == 0:
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY), stream)
        os.environ.update(environment)
        run_command(arguments)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What one run of the command left."""

    code: int
    lines: list[str]  # of stderr
    result: dict[str, Any] | None
    marked: bool  # the repository's own code was executed
    out: str = ""

    def finished(self) -> dict[str, Any]:
        """The result of a run that finished, quietly."""
        assert (self.code, self.lines) == (0, [])
        assert self.result is not None
        assert self.result["status"] == "finished"
        return self.result

    def refuses(self, code: int, *words: str) -> None:
        """It failed with this exit code and with one line that holds all these words."""
        assert len(self.lines) == 1, self.lines
        assert [word for word in words if word not in self.lines[0]] == [], self.lines[0]
        assert (self.code, self.result) == (code, None)


class Process:
    """Runs the command with one hub and one cache, which are settled when the libraries load.

    tasks: whether runs ask for tasks of lm-eval's own; their index is then taken from the cache
    of the tests, where it is made once
    """

    def __init__(self, place: Path, hub: Hub, tasks: bool = False, **environment: str) -> None:
        self.place, self.runs = place, 0
        (place / "own").mkdir(parents=True)
        if tasks:
            builtin_tasks()
            for index in cache().glob("lm-eval-*.pickle"):
                shutil.copy(index, place / "own")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": f"{place}/cache", "HF_HUB_OFFLINE": "0"}
        own |= {"DSNOT_EXP_CACHE": f"{place}/own"}
        calm = {"NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"TASKS = {tasks}\n{COMMANDS}"],
            cwd=Path(__file__).parents[2],
            env=kept | own | calm | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> Outcome:
        """`python -m dsnot_exp` with these arguments, in an empty folder."""
        self.runs += 1
        folder = self.place / f"{self.runs}"
        folder.mkdir()
        given = ["wandb=disabled", f"out={folder}", f"hydra.run.dir={folder}/run", *arguments]
        environment["MARKER"] = f"{folder}/marker"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps((str(folder), given, environment)), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        lines = (folder / "stderr").read_text().splitlines()
        result = folder / "run" / "result.json"
        found = json.loads(result.read_text()) if result.exists() else None
        out = (folder / "stdout").read_text()
        return Outcome(code, lines, found, (folder / "marker").exists(), out)

    def close(self) -> None:
        self.process.communicate(timeout=300)
