"""Plug-in files and a configuration folder of the user's, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.check_docs import examples
from tests.launch.beside import results
from tests.support.command import Command, Outcome, toy_arguments

FILE = "my_methods.py"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A run that takes a second, beside the files that the documentation shows."""
    for name, text in examples().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return [*toy_arguments(tmp_path), "refine=none"]


def hash_of(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.result["config_hash"]


def test_the_documented_plugin_runs(command: Command, tmp_path: Path, words: list[str]) -> None:
    """With power=1 it is Wanda, to the bit; its options, its record and its name are there."""
    assert len((tmp_path / FILE).read_text().splitlines()) <= 30
    wanda = command(*words, "prune=wanda", run="wanda").result
    words += [f"plugins={FILE}", "prune=powered"]
    same = command(*words, "prune.power=1", run="").folder
    found = results(tmp_path / "outputs/runs")
    ((name, result),) = found.items()
    assert name.startswith("toy-powered-0.5-none-"), same
    assert result["masks_sha256"] == wanda["masks_sha256"]
    assert result["config"]["prune"] == {"name": "powered", "power": 1.0}
    assert result["config"]["plugins"] == [FILE]
    (record,) = result["plugins"].items()
    assert (record[0], record[1]["file"]) == ("prune=powered", FILE)
    assert wanda["plugins"] == {}
    other = command(*words, "prune.power=0.5", run="other").result
    assert other["masks_sha256"] != wanda["masks_sha256"]


def test_the_source_counts_where_it_is_used(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    used = [*words, "prune=powered"]
    first = hash_of(command(*used, f"plugins=[{FILE}]", run="a"))
    unused = hash_of(command(*words, "prune=wanda", f"plugins=[{FILE}]", run="b"))
    assert unused == hash_of(command(*words, "prune=wanda", run="c"))
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / FILE).rename(tmp_path / "elsewhere/other_name.py")
    again = command(*used, f"plugins={moved}", run="a")
    assert "already finished" in again.out
    assert hash_of(again) == first
    moved.write_text(moved.read_text() + "# edited\n")
    edited = command(*used, f"plugins={moved}", run="a")
    assert "already finished" not in edited.out
    assert hash_of(edited) != first
    assert edited.result["plugins"]["prune=powered"]["file"] == "other_name.py"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("plugins=none.py", "plugins=none.py: no such file; give the path of a .py file"),
        ("plugins=3", "plugins=3: expected Python files, such as plugins=[my_methods.py]"),
        ("plugins=a.py,b.py", "plugins=a.py,b.py: all runs have the same; write plugins=[a.py,b"),
        (f"+plugins={FILE}", f"+plugins={FILE}: write plugins={FILE}, without +"),
        (f"plugins={FILE} prune=pwered", "ria, sparsegpt, wanda; did you mean powered?"),
        (
            f"plugins={FILE} prune=powered prune.powr=1",
            "prune.powr: no such option; did you mean p",
        ),
        (f"plugins={FILE} prune=powered prune.power=a", "prune.power=a: expected a number"),
        (f"plugins={FILE} prune=powered prune.power=-1", "prune.power=-1.0: expected 0 or more"),
        (
            "prune=powered",
            "prune=powered: choose from alps, magnitude, none, ria, sparsegpt, wanda",
        ),
        ("-cd nowhere", "--config-dir=nowhere: no such folder"),
        ("-cd my_conf eval=min", "choose from all, dsnot, mine, none"),
    ],
)
def test_a_wrong_request_is_one_line(
    given: str, line: str, command: Command, words: list[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    refused = command(*given.split(), run="")
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert line in refused.err
    assert sorted(tmp_path.iterdir()) == before


def test_help_lists_the_methods_of_a_file(command: Command, words: list[str]) -> None:
    listed = command(f"plugins={FILE}", "--help", run="").out
    assert "prune: alps, magnitude, none, powered, ria, sparsegpt, wanda" in listed
    assert ", powered," not in command("--help", run="").out


def test_a_configuration_folder_has_models_suites_and_sweeps(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    """The files of the documentation, with a model and a text that are here."""
    model = tmp_path / "my_conf/model/my-llama.yaml"
    model.write_text(model.read_text().replace("/models/my-llama", "toy"))
    suite = tmp_path / "my_conf/eval/mine.yaml"
    suite.write_text(f"name: mine\nperplexity: [{tmp_path}/test.safetensors]\nbaselines: []\n")
    (tmp_path / "mine").mkdir()  # eval=mine means the suite, not this folder
    given = [word for word in words if not word.startswith(("model", "eval"))]
    given += ["-cd", "my_conf"]
    one = command(*given, "model=my-llama", "eval=mine").result
    assert one["config"]["model"]["dtype"] == "bfloat16"
    assert list(one["metrics"]["perplexity"]) == [f"{tmp_path}/test.safetensors"]
    swept = command(*given, "-m", "+sweeps=first", "sparsity=0.5,2:4", run="")
    assert swept.code == 0, swept.err
    found = results(tmp_path / "outputs/first")
    methods = {(r["config"]["prune"]["name"], r["config"]["pattern"]) for r in found.values()}
    patterns = ("unstructured", "2:4")
    assert methods == {(m, p) for m in ("wanda", "powered") for p in patterns}
    assert {one["config"]["model"]["name"] for one in found.values()} == {"my-llama"}
    assert command(*given, "model=my-llama", "eval=mine", "prune=powered").code == 2
