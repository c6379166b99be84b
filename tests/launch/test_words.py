"""Flags and options in any order, and what is no option."""

from __future__ import annotations

import pytest

from dsnot_exp.launch.words import Words
from dsnot_exp.utils.errors import RequestError


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        ("", ""),
        ("a=1,2 -m b=3", "--multirun a=1,2 b=3"),
        ("-m a=1 a=2 b=3", "--multirun a=2 b=3"),
        ("a=1 ++a=2", "a=1 ++a=2"),
        ("a=1 -cn x b=2 --cfg job -p p", "--cfg=job --package=p --config-name=x a=1 b=2"),
        ("--info a=1", "--info=all a=1"),
        ("a=1 -i searchpath b=2", "--info=searchpath a=1 b=2"),
        ("a=1 -sc query=bash", "--shell-completion a=1 query=bash"),
        ("a=1 -cd folder -r", "--run --config-dir=folder a=1"),
        ("a=1 --experimental-rerun file b=2", "--experimental-rerun=file a=1 b=2"),
        ("-h a=1 --hydra-help", "--help --hydra-help a=1"),
    ],
)  # fmt: skip
def test_flags_come_first_and_of_an_option_the_last_counts(given: str, arranged: str) -> None:
    assert Words(given.split()).arranged() == arranged.split()


@pytest.mark.parametrize(
    ("given", "starts", "sweeps"),
    [
        ("a=1", True, False), ("a=1 -m", True, True), ("hydra.mode=MULTIRUN", True, True),
        ("-m hydra.mode=RUN", True, True), ("--cfg job", False, False), ("-h", False, False),
    ],
)  # fmt: skip
def test_what_starts_runs(given: str, starts: bool, sweeps: bool) -> None:
    words = Words(given.split())
    assert (words.starts, words.sweeps) == (starts, sweeps)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--model", "x"], "--model: no such flag; an option is written model=VALUE"),
        (["--sparsity=0.5"], "--sparsity=0.5: no such flag; an option is written sparsity=0.5"),
        (["--cfg", "nothing"], "invalid choice: 'nothing'"),
        (["-m", "--cfg", "job"], "--multirun --cfg: choose one"),
        (["--resolve"], "--resolve: works with --cfg"),
    ],
)
def test_bad_flags(given: list[str], line: str) -> None:
    with pytest.raises(RequestError) as refused:
        Words(given)
    assert line in str(refused.value)


def test_the_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    from dsnot_exp import __version__

    with pytest.raises(SystemExit) as ended:
        Words(["a=1", "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"dsnot_exp {__version__}\n"
