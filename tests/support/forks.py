"""The command in forks of one process that has imported the libraries: each starts at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import HALTING, ROOT, until

# On stdin, a number asks for the exit code of a fork, null while it runs; else a fork is started.
SERVER = """
import json, os, signal, sys
from tests.support.forked import run_command, warm
warm()
for name in [name for name in sys.modules if name.partition(".")[0] == "dsnot_exp"]:
    del sys.modules[name]  # a fork imports the package itself, in its own environment
children = set()
for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        ended, status = os.waitpid(order, os.WNOHANG)
        children.discard(ended)
        print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
        continue
    folder, output, arguments, environment = order
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{output}.{name}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), stream)
        os.environ.update(environment)
        exec(open(HALTING).read(), {})
        run_command(arguments)
    children.add(child)
    print(child, flush=True)
for child in children:
    os.kill(child, signal.SIGKILL)
"""


@dataclass
class Fork:
    """A process that runs the command. `code`: once it has ended, its exit code, or the negative
    number of the signal that killed it."""

    server: Forks
    pid: int
    output: Path
    code: int | None = None

    @property
    def out(self) -> str:
        return self.output.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self.output.with_suffix(".err").read_text()

    def ended(self) -> bool:
        if self.code is None:
            self.code = self.server.ask(self.pid)
        return self.code is not None

    def wait(self) -> int:
        """Until it ends; returns its exit code."""
        until(self.ended)
        assert self.code is not None
        return self.code

    def kill(self) -> None:
        """As `kill -9`. It has not ended by itself."""
        assert not self.ended(), self.err
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def kill_at(self, path: Path) -> None:
        """Once this file is there."""
        until(lambda: path.exists() or self.ended())
        self.kill()


class Forks:
    """`start(folder, "prune=wanda")` is `python -m dsnot_exp prune=wanda` in that folder."""

    def __init__(self, place: Path) -> None:
        self.place, self.count = place, 0
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"HALTING = {str(HALTING)!r}\n{SERVER}"],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, order: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def start(self, folder: Path, *arguments: str, **environment: str) -> Fork:
        self.count += 1
        output = self.place / f"{self.count}"
        pid = self.ask((str(folder), str(output), arguments, environment))
        return Fork(self, pid, output)

    def group(
        self, processes: int, folder: Path, *arguments: str, **environment: str
    ) -> list[Fork]:
        """Processes that work together, as torchrun starts them on one machine."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": f"{port}",
            "TORCHELASTIC_RUN_ID": "group",
            "WORLD_SIZE": f"{processes}",
            "LOCAL_WORLD_SIZE": f"{processes}",
        }
        ranks = [{"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"} for rank in range(processes)]
        return [self.start(folder, *arguments, **common, **own, **environment) for own in ranks]


@contextmanager
def forks(place: Path) -> Iterator[Forks]:
    server = Forks(place)
    try:
        yield server
    finally:
        server.process.communicate()
