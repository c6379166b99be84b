"""python -m dsnot_exp.runs clean: what goes, what stays, and what a kill in the middle leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from dsnot_exp.run.in_use import using_folder
from tests.report.folders import fill, result
from tests.runs.conftest import Runs

OLD = time.time() - 2 * 86400


def make(folder: Path, *names: str, old: bool = True) -> Path:
    """A folder with these files; their contents are their names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for path in [*folder.rglob("*"), folder] if old else []:
        os.utime(path, (OLD, OLD))
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, but for locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two finished runs, and one of every kind of leftover."""
    root = fill(tmp_path / "outputs", result(perplexity=12.5), result(perplexity=9.75))
    make(root / "failed", "dsnot_exp.log", "error.txt", ".lock", "progress.csv", "wandb/run")
    make(root / "refused-1", "error.txt")
    make(root / "killed", "dsnot_exp.log", ".lock")
    make(root / "resumable", "dsnot_exp.log", "state/account.json", "state/refined/0.safetensors")
    make(root / "failed-resumable", "dsnot_exp.log", "error.txt", "state/account.json")
    make(root / "run-00" / "state", "account.json")
    make(root / "run-01", ".result.json.ab12cd_9")
    make(root / "dense", "0123.json", ".0123.json.ab12cd_9")
    return root


GO = {
    "failed", "refused-1", "killed", "run-00/state", "run-01/.result.json.ab12cd_9",
    "dense/.0123.json.ab12cd_9",
}  # fmt: skip


def gone(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {
        place for place in GO | {"resumable", "failed-resumable"}
        if not any(name == place or name.startswith(f"{place}/") for name in after)
        and any(name == place or name.startswith(f"{place}/") for name in before)
    }  # fmt: skip


def test_leftovers_are_shown_and_nothing_is_deleted(outputs: Path, runs: Runs) -> None:
    before = tree(outputs)
    printed = runs(outputs, "clean")
    assert printed.code == 0
    assert tree(outputs) == before
    listed = {line.split()[0] for line in printed.out.split("Would be deleted")[1].splitlines()[3:]
              if line.strip() and "nothing is deleted" not in line}  # fmt: skip
    assert listed == GO
    assert "nothing is deleted yet: add --yes" in printed.out
    assert "failed: error.txt" in printed.out
    assert "--unfinished deletes it" in printed.out.split("Would be deleted")[0]


def test_what_was_shown_is_deleted_and_nothing_else(outputs: Path, runs: Runs) -> None:
    before = tree(outputs)
    printed = runs(outputs, "clean", "--yes")
    after = tree(outputs)
    assert (printed.code, printed.err) == (0, "")
    assert gone(before, after) == GO
    assert before.items() >= after.items()
    assert {name for name in after if name.endswith("result.json")} == {
        "run-00/result.json", "run-01/result.json",
    }  # fmt: skip
    assert f"deleted {len(GO)} of {len(GO)}" in printed.out
    assert "nothing to delete" in runs(outputs, "clean", "--yes").out


def test_state_of_unfinished_runs_needs_a_switch_of_its_own(outputs: Path, runs: Runs) -> None:
    before = tree(outputs)
    assert runs(outputs, "clean", "--yes", "--unfinished").code == 0
    assert gone(before, tree(outputs)) == GO | {"resumable", "failed-resumable"}


def test_state_of_a_rerun_is_resumable(tmp_path: Path, runs: Runs) -> None:
    root = fill(tmp_path, result())
    os.utime(root / "run-00" / "result.json", (OLD, OLD))
    make(root / "run-00" / "state", "account.json", old=False)
    assert "a run that is being rerun; --unfinished deletes it" in runs(root, "clean").out
    runs(root, "clean", "--yes")
    assert (root / "run-00" / "state").is_dir()


def test_a_run_that_is_running_or_starting_stays(outputs: Path, runs: Runs) -> None:
    make(outputs / "other" / "starting", "dsnot_exp.log", old=False)
    before = tree(outputs)
    with ExitStack() as stack:
        for name in ("killed", "resumable", "run-00"):
            stack.enter_context(FileLock(outputs / name / ".lock"))
        printed = runs(outputs, "clean", "--yes", "--unfinished")
    after = tree(outputs)
    left = printed.out.split("Deleted")[0]
    assert "may be starting" in left
    assert left.count("its sweep is running") == 3  # the others in the same folder
    assert gone(before, after) == {"run-01/.result.json.ab12cd_9"}
    assert "other/starting/dsnot_exp.log" in after


def test_the_note_of_a_failed_job_stays_while_its_sweep_runs(outputs: Path, runs: Runs) -> None:
    """Between two jobs a sweep holds the lock of no run."""
    with using_folder(outputs), using_folder(outputs):
        printed = runs(outputs, "clean", "--yes")
    assert (outputs / "failed" / "error.txt").exists()
    assert (outputs / "refused-1" / "error.txt").exists()
    assert "its sweep is running" in printed.out
    runs(outputs, "clean", "--yes")
    assert not (outputs / "failed").exists()


def test_a_folder_without_a_run_goes(tmp_path: Path, runs: Runs) -> None:
    make(tmp_path / "sweep", "multirun.yaml")
    make(tmp_path / "locked", ".lock")
    make(tmp_path / "begins", "multirun.yaml", old=False)
    make(tmp_path / "mine", "notes.md")
    with using_folder(tmp_path / "sweep"), FileLock(tmp_path / "locked" / ".lock"):
        assert "nothing to delete" in runs(tmp_path, "clean", "--yes").out
    os.utime(tmp_path / "locked" / ".lock", (OLD, OLD))
    runs(tmp_path, "clean", "--yes")
    assert {path.name for path in tmp_path.iterdir()} == {"begins", "mine"}


def test_only_names_of_ours_are_temporary(tmp_path: Path, runs: Runs) -> None:
    stay = {".editor.settings", ".result.json", ".name-examples", ".x.73a59ff0.old"}
    go = {".result.json.ab12cd_9", ".model.ab12cd_9", ".0f-1a.new-ab12cd_9", ".x.73a59ff0.ab12cd_9"}
    fill(tmp_path, result())
    make(tmp_path / "run-00", *stay, *go)
    make(tmp_path, *stay, *go)
    runs(tmp_path, "clean", "--yes")
    for folder in (tmp_path, tmp_path / "run-00"):
        assert {path.name for path in folder.iterdir()} - {"run-00", ".lock"} <= {
            "result.json",
            *stay,
        }
        assert stay <= {path.name for path in folder.iterdir()}


def test_files_of_others_stay(tmp_path: Path, runs: Runs) -> None:
    make(tmp_path / "failed", "dsnot_exp.log", "error.txt", "notes.md", "model/config.json")
    printed = runs(tmp_path, "clean", "--yes", "--unfinished")
    assert "holds model, notes.md; delete it by hand" in printed.out
    assert len(tree(tmp_path)) == 4


def test_a_run_that_begins_after_the_list_was_made_stays(
    outputs: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsnot_exp.runs import clean

    made = clean.leftovers

    def and_then(root: Path, unfinished: bool):  # type: ignore[no-untyped-def]
        plan = made(root, unfinished)
        (outputs / "failed" / "state").mkdir()  # the command was typed again
        (outputs / "killed" / "result.json").write_text(json.dumps(result()))
        return plan

    monkeypatch.setattr(clean, "leftovers", and_then)
    printed = runs(outputs, "clean", "--yes")
    assert printed.code == 1
    assert printed.err.count("left alone, a run has begun to use it") == 2
    assert (outputs / "killed" / "result.json").exists()
    assert (outputs / "failed" / "error.txt").exists()


KILLED = """
import os, shutil, signal, sys
from dsnot_exp.runs import clean
real, calls = {what}, []
def stops(*words, **more):
    calls.append(words)
    if len(calls) == {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*words, **more)
{what} = stops
from dsnot_exp.runs.__main__ import main
sys.argv[1:] = [{folder!r}, "clean", "--yes"]
main()
"""


@pytest.mark.parametrize("what", ["os.rename", "shutil.rmtree", "os.unlink"])
@pytest.mark.parametrize("when", [1, 2, 4])
def test_killed_in_the_middle_it_loses_only_what_it_listed(
    outputs: Path, runs: Runs, what: str, when: int
) -> None:
    before = tree(outputs)
    code = KILLED.format(what=what, when=when, folder=str(outputs))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    after = tree(outputs)
    lost = {name for name in before if name not in after}
    assert all(any(n == place or n.startswith(f"{place}/") for place in GO) for n in lost)
    states = {row["name"] for row in json.loads(runs(outputs, "--json").out)}
    assert {"run-00", "run-01", "resumable", "failed-resumable"} <= states
    assert runs(outputs, "clean", "--yes").code == 0
    assert gone(before, tree(outputs)) == GO
    assert not list(outputs.rglob(".removed-*"))


def test_what_cannot_be_deleted_is_named(
    outputs: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsnot_exp.runs import clean

    def refuses(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(clean.os, "rename", refuses)
    printed = runs(outputs, "clean", "--yes")
    assert printed.code == 1
    assert f"{outputs}/failed: cannot be deleted (Permission denied)" in printed.err
    assert f"deleted 0 of {len(GO)}" in printed.out
    assert not list(outputs.rglob(".removed-*"))


def test_sparse_models_and_measurements_go_only_if_asked(outputs: Path, runs: Runs) -> None:
    from dsnot_exp.run.content import code_fingerprint

    for name in ("used", "unused"):
        make(outputs / "sparse" / name, "sparse.json", "masks/00000.safetensors")
    path = outputs / "run-00" / "result.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"masks": {"folder": "../sparse/used"}})
    )
    for name, code in (("a", code_fingerprint()), ("b", "old")):
        text = json.dumps({"key": {"code": code}, "value": 1.0})
        (outputs / "dense" / f"{name * 32}.json").write_text(text)
    runs(outputs, "clean", "--yes")
    assert (outputs / "sparse" / "unused").is_dir()
    with FileLock(outputs / "run-01" / ".lock"):  # it may be about to use them
        assert "runs are running" in runs(outputs, "clean", "--yes", "--stores").out
    assert (outputs / "sparse" / "unused").is_dir()
    runs(outputs, "clean", "--yes", "--stores")
    assert [path.name for path in (outputs / "sparse").glob("[!.]*")] == ["used"]
    assert sorted(p.name for p in (outputs / "dense").iterdir()) == [
        "0123.json",
        "a" * 32 + ".json",
    ]
