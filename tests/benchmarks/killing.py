"""kill -9 at random moments: does a run that is started again end as if nothing had happened?

    python -m tests.benchmarks.killing --runs 20                            the bundled model
    python -m tests.benchmarks.killing --runs 20 --folder DIR model=local model.path=llama

Runs the command line of dsnot_exp once undisturbed. Every other run has the same options and is
killed at a random moment, within the time that the undisturbed one took; then the same command is
given again, and killed again as long as a coin says so, until a result is there. Its masks_sha256
is compared with that of the undisturbed run. Prints a line per start (how long it lived, how many
blocks were finished on disk then, where it had gone on) and a Markdown table; exit code 1 where the
masks are not always the same or a run fails. Resumed: starts that went on at a block; lost: starts
that did not, and did anew what was finished.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import table

DEFAULTS = ["eval=none", "wandb=disabled"]
RESUMED = re.compile(r"resuming at block (\d+) of \d+ \(\w+\)")


@dataclass(frozen=True)
class Start:
    """One process. before, after: blocks finished on disk, by stage; masks: if there is a result"""

    seconds: float
    killed: bool
    before: dict[str, int]
    after: dict[str, int]
    output: str
    masks: str | None

    @property
    def resumed(self) -> re.Match[str] | None:
        return RESUMED.search(self.output)

    @property
    def lost(self) -> bool:
        """Began a stage anew although blocks of it were finished."""
        anew = any(self.after.get(stage, 0) < blocks for stage, blocks in self.before.items())
        return not self.resumed and bool(self.before) and (anew or self.masks is not None)

    def told(self) -> str:
        parts = [f"{'killed' if self.killed else 'ended by itself'} after {self.seconds:.2f} s"]
        if self.killed and self.masks is not None:
            parts.append("its result was written")
        elif self.killed:
            parts.append(f"blocks finished: {sum(self.after.values())}")
        parts.append(self.resumed[0] if self.resumed else "did not go on from anything")
        parts += ["LOST finished blocks"] if self.lost else []
        parts += [line for line in self.output.splitlines() if "damaged" in line]
        return ", ".join(parts)


def main() -> None:
    options = arguments()
    given = {word.partition("=")[0] for word in options.options}
    words = [word for word in DEFAULTS if word.partition("=")[0] not in given] + options.options
    with tempfile.TemporaryDirectory(prefix="dsnot-exp-killing-") as temporary:
        folder = Path(options.folder or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        whole = start(folder / "whole", ["rerun=true", "resume=false", *words], None)
        print(f"undisturbed: {whole.seconds:.2f} s, masks {whole.masks}", flush=True)
        chance, starts = random.Random(options.seed), list[Start]()
        for number in range(1, options.runs + 1):
            for one in killed(folder / "killed", ["rerun=true", *words], whole.seconds, chance):
                starts.append(one)
                print(f"run {number}: {one.told()}", flush=True)
    masks = [one.masks for one in starts if one.masks is not None]
    distinct = len({whole.masks, *masks})
    kills, resumed = sum(one.killed for one in starts), sum(bool(one.resumed) for one in starts)
    head = ["run", "kills", "results", "distinct masks_sha256", "resumed starts", "lost"]
    figures = [kills, len(masks), distinct, resumed, sum(one.lost for one in starts)]
    name = " ".join(options.options) or "bundled model"
    print("\n" + table(head, [[name, *map(str, figures)]]))
    sys.exit(distinct != 1)


def killed(folder: Path, words: list[str], most: float, chance: random.Random) -> Iterator[Start]:
    """The starts of one run: killed at least once, the last one leaves a result."""
    kills, masks = 0, None
    while kills == 0 or masks is None:
        again = kills == 0 or chance.random() < 0.5
        one = start(folder, words, chance.uniform(0, most) if again else None)
        kills, masks = kills + one.killed, one.masks
        yield one


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", help="where the runs are kept; else they are temporary")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("options", nargs="*", help="options of dsnot_exp")
    return parser.parse_args()


def start(folder: Path, words: list[str], patience: float | None) -> Start:
    """One process, killed after `patience` seconds if it is still there; exits if it fails."""
    before = finished(folder)
    command = [sys.executable, "-m", "dsnot_exp", f"hydra.run.dir={folder}", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    began, begin = time.time(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            process.wait(patience)
            killed = False
        except subprocess.TimeoutExpired:
            process.kill()
            killed = process.wait() < 0  # else it ended in this very moment
        seconds = time.perf_counter() - begin
        said.seek(0)
        output = said.read()
    if not killed and process.returncode:
        sys.exit(f"{output}\n{' '.join(command)}: exit code {process.returncode}")
    result, masks = folder / "result.json", None
    if not killed or (result.exists() and result.stat().st_mtime > began):
        masks = json.loads(result.read_text())["masks_sha256"]
    return Start(seconds, killed, before, finished(folder), output, masks)


def finished(folder: Path) -> dict[str, int]:
    """Blocks that count as finished, by stage: none before them is missing. Those that a result
    was written of since are that result's, and no run goes on from them."""
    found: dict[str, int] = {}
    result = folder / "result.json"
    written = result.stat().st_mtime if result.exists() else 0.0
    for first in folder.glob("state/*/00000.json"):
        if first.stat().st_mtime < written:
            continue
        present = ((first.parent / f"{i:05d}.json").exists() for i in count())
        found[first.parent.name] = sum(takewhile(bool, present))
    return found


if __name__ == "__main__":
    main()
