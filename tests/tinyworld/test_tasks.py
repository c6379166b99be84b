import json
from pathlib import Path

import yaml

from dsnot_exp.tinyworld.tasks import ITEMS, TASKS, build


def listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_build_is_idempotent_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    assert build(tmp_path) == list(TASKS)
    first = listing(tmp_path)
    assert len(first) == 2 * len(TASKS)
    assert build(tmp_path) == list(TASKS)
    assert listing(tmp_path) == first


def test_only_the_path_differs_between_folders(tmp_path: Path) -> None:
    build(tmp_path / "one")
    build(tmp_path / "other")
    other = listing(tmp_path / "other")
    for name, (_, content) in listing(tmp_path / "one").items():
        moved = content.replace(str(tmp_path / "one").encode(), str(tmp_path / "other").encode())
        assert moved == other[name][1]


def test_a_damaged_file_is_written_again(tmp_path: Path) -> None:
    build(tmp_path)
    (damaged,) = tmp_path.glob("tw_count-*.jsonl")
    whole = damaged.read_text()
    damaged.write_text(whole[:100])
    build(tmp_path)
    assert damaged.read_text() == whole


def test_the_yaml_names_the_items(tmp_path: Path) -> None:
    for name in build(tmp_path):
        task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
        assert task["task"] == name
        assert task["output_type"] == "multiple_choice"
        path = Path(task["dataset_kwargs"]["data_files"]["test"])
        assert path.is_absolute()
        made = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(made) == ITEMS
        assert set(made[0]) == {"context", "choices", "answer"}
