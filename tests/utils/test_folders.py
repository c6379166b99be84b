"""A folder is replaced as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsnot_exp.utils.folders import put_back, written_aside

NAMES = ("out", "wanda[0.5]")  # the second is a pattern of glob


def write(place: Path, name: str) -> None:
    with written_aside(place, "mine-") as folder:
        assert folder.parent == place.parent
        (folder / name).touch()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, name: str) -> None:
    place = tmp_path / "deep" / name
    write(place, "first")
    assert place.stat().st_mode & 0o777 == 0o755
    write(place, "second")
    assert (os.listdir(place), os.listdir(place.parent)) == (["second"], [name])


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    with pytest.raises(KeyboardInterrupt), written_aside(tmp_path / "out", "mine-"):
        raise KeyboardInterrupt
    assert (os.listdir(tmp_path), os.listdir(tmp_path / "out")) == (["out"], ["first"])


@pytest.mark.parametrize("name", NAMES)
def test_what_killed_processes_left_is_undone(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    write(place, "first")
    place.rename(tmp_path / f".{name}.mine-old")  # killed between the two renames
    (tmp_path / f".{name}.mine-abc").mkdir()
    (tmp_path / f".{name}.others").mkdir()
    put_back(place, "mine-")
    assert os.listdir(place) == ["first"]
    write(place, "second")
    assert sorted(os.listdir(tmp_path)) == sorted([f".{name}.others", name])
    (tmp_path / f".{name}.mine-old").mkdir()  # killed after both
    put_back(place, "mine-")
    assert os.listdir(place) == ["second"]
