"""Checks that README.md, CONTRIBUTING.md and docs/ agree with the code.

    python -m tests.docs.check_docs          commands, links, paths, options, fields, messages
    python -m tests.docs.check_docs --run    the same, then runs the README's quick start

Commands of dsnot_exp are composed by Hydra and planned, for every value of a sweep. Flags of other
modules are parsed by their own parsers. Nothing is run without --run.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig
from torch.distributed.run import get_args_parser as torchrun_parser

from dsnot_exp.config import Config, register_schema
from dsnot_exp.launch.grids import words_of
from dsnot_exp.launch.hydra_setup import EXTRAS, missing_plugin, register
from dsnot_exp.launch.plugin_words import use, use_composed, use_typed
from dsnot_exp.launch.words import Words
from dsnot_exp.methods import registry
from dsnot_exp.run.clock import PHASES
from dsnot_exp.run.plan import plan_of
from dsnot_exp.utils.errors import DsnotError
from dsnot_exp.utils.paths import sweeps_path
from dsnot_exp.walk.record import BlockFit, LayerRecord

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK_START = "## Quick start"
CHECKED = ("python", "torchrun", "make")
DATA_FILE = re.compile(r"[\w./-]+\.(?:txt|jsonl|safetensors)")
ROOMS = "data|evaluate|launch|methods|models|report|results|run|utils|walk"
ROOM_PATH = re.compile(rf"(?<![\w/])(?:{ROOMS})/[\w/]+\.(?:py|c)\b")
REPOSITORY_PATH = re.compile(
    r"(?<![\w/])(?:dsnot_exp|conf|sweeps|tests)/[\w./-]*\w\.(?:py|c|yaml|jinja)\b"
)
MESSAGE = re.compile(r"\*\*`(.+)`\*\*")  # of troubleshooting.md
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OWN_CONF = "my_conf"  # of the pages' examples
NO_OPTIONS = {"model.layers", "prune.power"}  # a list of blocks; the option of an example
# The functions whose dict literals are the fields of result.json.
FIELDS_OF_RESULT = {
    "results/assemble.py": ("assemble", "sparsity_summary", "environment"),
    "run/clock.py": ("memory", "account"),
    "run/inputs.py": ("records",),
    "data/tokens.py": ("record",),
    "evaluate/zero_shot.py": ("_values",),
    "methods/finetune/lora.py": ("__call__",),
}


@dataclass(frozen=True)
class Command:
    """A command line in a page. `section`: the heading above it."""

    where: str
    section: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


class Wrong(Exception):
    """A command that cannot be given like this."""


# Pages


def lines(page: Path) -> Iterator[tuple[str, str, str, bool]]:
    """(place, section, text, is it code) of every line; lines that end in a backslash are
    joined."""
    fenced, section, held, begin = False, "", "", 0
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        code = fenced or line.startswith("    ")
        section = line if line.startswith("#") and not code else section
        begin = begin if held else number
        held += line.strip() if code else line
        if code and held.endswith("\\"):
            held = held[:-1]
            continue
        yield f"{page.relative_to(ROOT)}:{begin}", section, held, code
        held = ""


def spans(page: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every `span` outside of code blocks."""
    for where, _, line, code in lines(page):
        if not code:
            yield from ((where, found) for found in SPAN.findall(line))


def commands(page: Path) -> Iterator[Command]:
    for where, section, line, code in lines(page):
        quoted = [] if MESSAGE.match(line) else SPAN.findall(line)
        for text in [line] if code else quoted:
            words = _words(text)
            if words and words[0] in CHECKED:
                yield Command(where, section, words)


def _words(text: str) -> tuple[str, ...]:
    """Without comments and variables in front."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # an apostrophe: prose or output
        return ()
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    return tuple(words)


# Commands


def check(command: Command) -> None:
    """Raise Wrong for a command that the code would refuse."""
    program, *rest = command.words
    if program == "make":
        _check_make(rest)
    elif program == "torchrun":
        given = _parsed(torchrun_parser(), rest)
        if not given.module or given.training_script != "dsnot_exp":
            raise Wrong("torchrun without -m dsnot_exp")
        check_run(given.training_script_args)
    elif rest[:2] == ["-m", "dsnot_exp"]:
        check_run(rest[2:])
    elif rest[:1] == ["-m"]:
        _check_module(rest[1], rest[2:])


def _check_make(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and name not in targets:
            raise Wrong(f"no target {name} in the Makefile")
        if name == "ARGS" and "run" in words:
            check_run(shlex.split(value))


def _check_module(name: str, words: list[str]) -> None:
    """Let the module's own main parse the words, and stop it there."""
    try:
        module = importlib.import_module(name)
        if not hasattr(module, "main"):
            module = importlib.import_module(f"{name}.__main__")
    except ImportError as error:
        raise Wrong(str(error)) from error
    real = argparse.ArgumentParser.parse_args

    class Parsed(Exception):
        pass

    def parse_args(parser: argparse.ArgumentParser, *_: Any) -> None:
        raise Parsed(real(parser, words))

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_args):
        try:
            with _refused():
                module.main()
        except Parsed as parsed:
            (given,) = parsed.args
    if options := getattr(given, "options", []):  # of dsnot_exp, which the benchmark passes on
        check_run(options)


def check_run(words: list[str]) -> None:
    """Compose and plan every run of the command."""
    given = _parsed(get_args_parser(), words)
    for job in _jobs(tuple(given.overrides), bool(given.multirun)):
        _plan(job)


@functools.cache
def _plan(job: tuple[str, ...]) -> None:
    with _composer(job):
        config = plan_of(_composed(job)).config
        if config.model.name in ("local", "hub") and config.model.path is None:
            raise Wrong("model.path is missing")


def _jobs(words: tuple[str, ...], sweep: bool) -> list[tuple[str, ...]]:
    """The runs of a command; of a sweep as many as it takes to see each of its values."""
    if not sweep:
        return [words]
    with _composer(words):
        config = _composed(words, RunMode.MULTIRUN)
        use_composed(config.plugins)
        files = ",".join(registry.used_files())  # of the sweep's YAML file, too
        jobs = words_of(config, GlobalHydra.instance().config_loader())
    left, chosen = set(chain.from_iterable(jobs)), []
    while left:
        best = max(jobs, key=lambda job: len(left.intersection(job)))
        left -= set(best)
        chosen.append(tuple(word for word in best if not word.startswith("hydra")))
    return [(*job, f"plugins=[{files}]") if files else job for job in chosen]


def _composed(words: tuple[str, ...], mode: RunMode = RunMode.RUN) -> DictConfig:
    """The configuration, with Hydra's own part. Without the launcher if it is not installed."""
    usable = [w for w in words if torch.cuda.is_available() or not w.startswith("device=cuda")]
    if Path(OWN_CONF).is_dir():  # as with -cd
        usable.append(f"hydra.searchpath=[{sweeps_path()},file://{Path(OWN_CONF).resolve()}]")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        return hydra.compose_config("config", usable, mode)
    except Exception as error:  # Hydra's, OmegaConf's
        absent = missing_plugin(str(error))
        launcher = next((w for w in words if w.startswith("hydra/launcher=")), "")
        if absent is None or launcher.partition("=")[2] not in EXTRAS:
            raise Wrong(str(error).splitlines()[0]) from error
        return hydra.compose_config("config", [w for w in usable if "launcher" not in w], mode)


def examples() -> dict[str, str]:
    """The files that the pages show: code blocks that begin with a comment, `# my_methods.py`."""
    found = {}
    for page in PAGES:
        for block in re.findall(r"^```\w+\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            named = re.match(r"(?:# @.*\n)?# ([\w/.-]+\.(?:py|yaml))\n", block)
            found |= {named[1]: block} if named else {}
    return found


@contextlib.contextmanager
def _composer(words: tuple[str, ...]) -> Iterator[None]:
    """Hydra on conf/, in a folder that has the files that `words` name and those of the pages."""
    register_schema()
    register()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in DATA_FILE.findall(" ".join(words)):
            Path(folder, name).write_text("text")
        for name, text in examples().items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_text(text)
        os.chdir(folder)
        try:
            use_typed(Words([*words]))
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                yield
        except DsnotError as error:
            raise Wrong(str(error)) from error
        finally:
            os.chdir(before)
            use([])


def _parsed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    with _refused():
        return parser.parse_args(words)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What argparse prints before it exits becomes Wrong."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as error:
        raise Wrong(said.getvalue().strip().rpartition("\n")[2]) from error


# Problems: one line each


def wrong_commands() -> Iterator[str]:
    for command in chain.from_iterable(map(commands, PAGES)):
        try:
            check(command)
        except Wrong as error:
            yield f"{command}: {error}"


def broken_links() -> Iterator[str]:
    for page in PAGES:
        for where, _, line, code in lines(page):
            for target in [] if code else re.findall(r"\]\(([^)\s]+)\)", line):
                if not target.startswith(("http://", "https://")) and not _resolves(page, target):
                    yield f"{where}: {target} does not exist"


def _resolves(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    return file.exists() and (not anchor or anchor in _anchors(file))


def _anchors(page: Path) -> set[str]:
    """GitHub's names of the headings."""
    headings = [h for _, h, line, code in lines(page) if h == line and h and not code]
    plain = [re.sub(r"[^\w\- ]", "", h.lstrip("# ").lower()) for h in headings]
    return {heading.replace(" ", "-") for heading in plain}


def missing_paths() -> Iterator[str]:
    for page in PAGES:
        for where, _, line, _ in lines(page):
            inside = [f"dsnot_exp/{path}" for path in ROOM_PATH.findall(line)]
            for path in [*REPOSITORY_PATH.findall(line), *inside]:
                if not (ROOT / path).is_file():
                    yield f"{where}: {path} does not exist"
        for where, span in spans(page):
            sweep = re.fullmatch(r"\+sweeps=(\w+)", span)
            if sweep and not (ROOT / "sweeps" / f"{sweep[1]}.yaml").is_file():
                yield f"{where}: no sweep {sweep[1]}"


def options() -> set[str]:
    """Every key of the command line, with dots."""
    found = set(_keys(Config))
    for group, methods in registry.OURS.items():
        found |= {f"{group}.{key}" for name in methods for key in registry.options(group, name)}
    return {key for key in found if not key.endswith(".name")}


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for part in fields(node):
        value = part.default_factory() if callable(part.default_factory) else part.default
        nested = is_dataclass(value)
        if not (nested and prefix):  # `calib` alone is a choice, `calib.target` alone is none
            yield f"{prefix}{part.name}"
        yield from _keys(value, f"{prefix}{part.name}.") if nested else ()


def undocumented() -> Iterator[str]:
    """Options without a row in options.md, fields of result.json without one in results.md."""
    keys = {span.partition("=")[0] for _, span in spans(ROOT / "docs/options.md")}
    yield from (f"docs/options.md: {key} is missing" for key in sorted(options() - keys))
    told = {span for _, span in spans(ROOT / "docs/results.md")}
    told |= {span.rpartition(".")[2] for span in told}
    absent = sorted(set(result_fields()) - told)
    yield from (f"docs/results.md: {field} is missing" for field in absent)


def result_fields() -> Iterator[str]:
    yield from PHASES
    yield from LayerRecord("x").reconstruction()
    yield from (field.name for field in fields(BlockFit))
    for name, functions in FIELDS_OF_RESULT.items():
        tree = ast.parse((ROOT / "dsnot_exp" / name).read_text("utf-8"))
        found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        assert {f.name for f in found} >= set(functions), f"{name}: {functions} moved"
        for function in (f for f in found if f.name in functions):
            for node in ast.walk(function):
                if isinstance(node, ast.Dict):
                    keys = [k.value for k in node.keys if isinstance(k, ast.Constant)]
                    yield from map(str, keys)


def unknown_options() -> Iterator[str]:
    """Spans such as `calib.samples` whose group has no such option."""
    known = options() | NO_OPTIONS
    known |= {key.rpartition(".")[0] for key in known}
    groups = {key.partition(".")[0] for key in known if "." in key}
    for page in PAGES:
        for where, span in spans(page):
            for key in re.findall(r"(?<![\w./])([a-z]+\.[a-z_]+)(?==|$)", span):
                if key.partition(".")[0] in groups and key not in known and key[-3:] != ".py":
                    yield f"{where}: there is no option {key}"


def unknown_messages() -> Iterator[str]:
    """Messages of troubleshooting.md, **`in bold`**, that the code does not have. `...` stands for
    what varies."""
    page = ROOT / "docs/troubleshooting.md"
    templates = [text for file in ROOT.glob("dsnot_exp/**/*.py") for text in _texts(file)]
    for where, _, line, code in lines(page):
        for message in [] if code else MESSAGE.findall(line):
            parts = [re.escape(part) for part in message.split("...")]
            if not any(re.search(".*".join(parts), text) for text in templates):
                yield f"{where}: no such message: {message}"


def _texts(file: Path) -> Iterator[str]:
    """The text literals of a file, with {} for the values formatted into them."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


CHECKS = (
    wrong_commands, broken_links, missing_paths, undocumented, unknown_options, unknown_messages,
)  # fmt: skip


def quick_start() -> None:
    """Run the README's quick start where it needs no network, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="dsnot-exp-docs-") as folder:
        for command in commands(ROOT / "README.md"):
            text = " ".join(command.words)
            offline = command.words[0] == "python" and "model=" not in text and "prune=" not in text
            if command.section != QUICK_START or not offline:
                continue
            print(f"running {text}", flush=True)
            begin = time.perf_counter()
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
            subprocess.run(
                [sys.executable, *command.words[1:]], cwd=folder, env=environment, check=True
            )
            print(f"finished in {time.perf_counter() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", action="store_true", help="run the README's quick start too")
    given = parser.parse_args()
    problems = [line for found in CHECKS for line in found()]
    print("\n".join(problems) or "README.md, CONTRIBUTING.md and docs/ agree with the code")
    if problems:
        sys.exit(1)
    if given.run:
        quick_start()


if __name__ == "__main__":
    main()
