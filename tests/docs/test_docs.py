"""README.md, CONTRIBUTING.md and docs/ agree with the code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator

import pytest

from tests.docs.check_docs import CHECKS, PAGES, ROOT, Command, Wrong, check, commands

SHORT = 120  # lines of README.md
ELSEWHERE = re.compile(r"(?<![\w.~])/(?:work|tmp|root)\b")


@pytest.mark.parametrize("problems", CHECKS, ids=lambda one: one.__name__)
def test_the_documentation_agrees_with_the_code(problems: Callable[[], Iterator[str]]) -> None:
    assert list(problems()) == []


def test_the_readme_is_short_and_says_how_to_start() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= SHORT
    assert "git clone" in text
    for page in PAGES:
        assert not ELSEWHERE.search(page.read_text("utf-8")), f"{page.name}: a path of one machine"
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in text, f"README.md does not link {page.name}"


def test_every_room_is_described() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for room in (ROOT / "dsnot_exp").glob("*/__init__.py"):
        assert f"`dsnot_exp/{room.parent.name}/`" in text


@pytest.mark.parametrize(
    "text",
    [
        "python -m dsnot_exp sparsty=0.5",
        "python -m dsnot_exp sparsity=2",
        "python -m dsnot_exp refine.max_cycle=3",
        "python -m dsnot_exp model=hub",
        "python -m dsnot_exp -m +sweeps=no_such_study",
        "python -m dsnot_exp.report --no-such-flag outputs",
        "python -m tests.benchmarks.overhead --no-such-flag",
        "python -m tests.benchmarks.no_such_benchmark",
        "torchrun --no-such-flag -m dsnot_exp",
        "make no-such-target",
        'make run ARGS="sparsity=2"',
    ],
)
def test_a_command_that_would_fail_is_found(text: str) -> None:
    with pytest.raises(Wrong):
        check(Command("here", "", tuple(shlex.split(text))))


def test_commands_are_found_in_blocks_and_spans() -> None:
    found = [command.words for command in commands(ROOT / "README.md")]
    assert ("make", "test") in found  # a span
    assert ("python", "-m", "dsnot_exp.report", "outputs/table1_tiny") in found  # a block
