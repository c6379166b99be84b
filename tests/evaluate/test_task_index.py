"""lm-eval's index is read once, and again when one of its files changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest

from dsnot_exp.evaluate.task_index import builtin_tasks
from tests.evaluate.test_zero_shot import task_file


class Built:
    """Stands for lm-eval's manager; counts how often one was made."""

    times = 0

    def __init__(self) -> None:
        Built.times += 1
        folder = Path(lm_eval.tasks.__file__).parent
        self.all_tasks = sorted(file.stem for file in folder.rglob("*.yaml"))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A small lm-eval with one task; an empty cache."""
    folder = tmp_path / "lm_eval" / "tasks"
    (folder / "group").mkdir(parents=True)
    task_file(folder / "group", "one", ["red"])
    monkeypatch.setattr(lm_eval.tasks, "__file__", str(folder / "__init__.py"))
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", Built)
    monkeypatch.setattr(Built, "times", 0)
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path / "cache"))
    yield folder
    builtin_tasks.cache_clear()


def of_a_new_process() -> Any:
    builtin_tasks.cache_clear()
    return builtin_tasks()


def test_the_index_is_kept(folder: Path) -> None:
    assert [of_a_new_process().all_tasks for _ in range(3)] == [["one"]] * 3
    assert Built.times == 1


def test_a_changed_or_new_file_is_seen(folder: Path) -> None:
    of_a_new_process()
    file = folder / "group" / "one.yaml"
    file.write_text(file.read_text() + "num_fewshot: 3\n")
    of_a_new_process()
    assert Built.times == 2
    task_file(folder, "two", ["red"])
    assert of_a_new_process().all_tasks == ["one", "two"]


def test_a_damaged_index_is_made_again(folder: Path, tmp_path: Path) -> None:
    of_a_new_process()
    (file,) = (tmp_path / "cache").glob("lm-eval-*.pickle")
    file.write_bytes(file.read_bytes()[:-3])
    assert of_a_new_process().all_tasks == ["one"]
    assert Built.times == 2


def test_a_cache_that_cannot_be_written_only_costs_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert of_a_new_process().all_tasks == ["one"]
