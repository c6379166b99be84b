"""A data set's repository as the hub has it: parquet files, a card, a commit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from tests.support.hub_server import Repository

Row = dict[str, Any]
Parts = dict[str, list[Row]]  # by split


def repository(id: str, folder: Path, name: str = "main") -> Repository:
    commit = hashlib.sha1(f"{id} {name}".encode()).hexdigest()
    return Repository(id, folder, commit, "datasets", (name,))


def parquet(place: Path, features: dict[str, Any], configs: dict[str, Parts]) -> None:
    """A file for every split in a folder for every config (in `data` if there is only a default),
    and the card that says so."""
    folders = {config: "data" if config == "default" else config for config in configs}
    for config, parts in configs.items():
        for split, rows in parts.items():
            file = f"{folders[config]}/{split}-00000-of-00001.parquet"
            write(place / file, features, rows)
    counts = {
        config: {split: len(rows) for split, rows in parts.items()}
        for config, parts in configs.items()
    }
    paths = {
        config: {split: f"{folders[config]}/{split}-*" for split in parts}
        for config, parts in configs.items()
    }
    card(place, features, counts, paths)


def write(path: Path, features: dict[str, Any], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=Features(features).arrow_schema), path)


def card(
    place: Path,
    features: dict[str, Any],
    counts: dict[str, dict[str, int]],
    paths: dict[str, dict[str, str]],
) -> None:
    """README.md, with the rows of every config's splits and where their files are."""
    header = DatasetCardData()
    infos = {}
    for config, splits in counts.items():
        infos[config] = DatasetInfo(features=Features(features), config_name=config)
        infos[config].splits = SplitDict(
            {split: SplitInfo(split, num_examples=count) for split, count in splits.items()}
        )
    DatasetInfosDict(infos).to_dataset_card_data(header)
    files = {
        config: {"data_files": [{"split": split, "path": path} for split, path in splits.items()]}
        for config, splits in paths.items()
    }
    MetadataConfigs(files).to_dataset_card_data(header)
    (place / "README.md").write_text(f"---\n{header.to_yaml()}\n---\n")
