"""The words of `python -m dsnot_exp.runs`: which command, on which folder and runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.wanted import did_you_mean

OUTPUTS = Path("outputs")
COMMANDS = {
    "list": "[FOLDER] [list] [--filter KEY=VALUE] [--sort KEY] [--columns KEYS] [--json | --csv]",
    "show": "[FOLDER] show RUN [--measure] [--json]",
    "diff": "[FOLDER] diff RUN RUN [--json]",
    "clean": "[FOLDER] clean [--yes] [--unfinished] [--stores]",
}
RUNS = {"list": 0, "show": 1, "diff": 2, "clean": 0}  # how many a command takes
FLAGS = {
    "filter": ("list",), "sort": ("list",), "columns": ("list",), "csv": ("list",),
    "measure": ("show",), "json": ("list", "show", "diff"), "yes": ("clean",),
    "unfinished": ("clean",), "stores": ("clean",),
}  # fmt: skip
WITH_VALUE = ("--filter", "--sort", "--columns")


@dataclass(frozen=True)
class Request:
    """runs: the words that name runs; given: the flags"""

    command: str
    folder: Path
    runs: list[str]
    given: argparse.Namespace


def parser(prog: str, text: str | None) -> argparse.ArgumentParser:
    usage = "\n       ".join(f"{prog} {words}" for words in COMMANDS.values())
    found = argparse.ArgumentParser(
        prog=prog,
        usage=usage,
        description=text,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("words", nargs="*", metavar="WORD", help="a folder (outputs), a command (list), runs")
    add(
        "--filter", action="append", default=[], metavar="KEY=VALUE",
        help="only these runs; also !=, >=, <=, >, <; several values: a,b; globs; may be repeated",
    )  # fmt: skip
    add("--sort", metavar="KEY", help="sort by a field; -KEY: the largest first")
    add("--columns", metavar="KEYS", help="the fields to show, such as seed,timing_s.total")
    add("--json", action="store_true", help="print JSON, with all fields or those of --columns")
    add("--csv", action="store_true", help="print CSV, with all fields or those of --columns")
    add("--measure", action="store_true", help="time per token, dense and sparse; loads both")
    add("--yes", action="store_true", help="delete what `clean` shows")
    add("--unfinished", action="store_true", help="runs that could be resumed, too")
    add("--stores", action="store_true", help="what runs share and no result refers to, too")
    return found


def arranged(words: Sequence[str]) -> list[str]:
    """Flags behind the other words, and `--sort -time` as `--sort=-time`: argparse takes neither
    as it is typed."""
    flags, others, rest = list[str](), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        if word in WITH_VALUE and rest:
            word = f"{word}={rest.pop(0)}"
        (flags if word.startswith("-") and word != "-" else others).append(word)
    return [*others, *flags]


def understood(given: argparse.Namespace) -> Request:
    """What the words ask for. Raises for a folder that does not exist and for flags of another
    command."""
    words = list(given.words)
    folder = OUTPUTS
    if words and words[0] not in COMMANDS:
        folder = Path(words.pop(0)).expanduser()
    command = words.pop(0) if words and words[0] in COMMANDS else "list"
    if command in ("list", "clean") and words and folder == OUTPUTS:
        folder = Path(words.pop(0)).expanduser()  # `clean FOLDER`
    _check_words(command, folder, words)
    for flag, commands in FLAGS.items():
        if getattr(given, flag) and command not in commands:
            raise RequestError(f"--{flag}: only with {' and '.join(commands)}, not with {command}")
    if given.json and given.csv:
        raise RequestError("--json --csv: choose one of them")
    if not folder.is_dir() and not (command in ("show", "diff") and folder == OUTPUTS):
        hint = did_you_mean(str(folder), list(COMMANDS)) or "; give a folder of runs"
        what = "is a file" if folder.exists() else "no such folder"
        raise RequestError(f"{folder}: {what}{hint}")
    return Request(command, folder, words, given)


def _check_words(command: str, folder: Path, words: list[str]) -> None:
    wanted = RUNS[command]
    if len(words) == wanted:
        return
    if command == "list":
        raise RequestError(
            f"{folder} {' '.join(words)}: {words[0]} is no command{_commands(words[0])}"
        )
    need = {0: "no run", 1: "one run", 2: "two runs"}[wanted]
    raise RequestError(
        f"{command}: needs {need}, and {len(words)} are given; write "
        f"python -m dsnot_exp.runs {COMMANDS[command]}"
    )


def _commands(word: str) -> str:
    return did_you_mean(word, list(COMMANDS)) or f"; choose from {', '.join(COMMANDS)}"
