"""Small models, tokens and statistics that the tests share."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Else each process that the tests start would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.command import Command
from tests.support.forks import Forks, forks

torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    return Command(monkeypatch, capfd, tmp_path)


@pytest.fixture(scope="session", name="forks")
def _forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(tmp_path_factory.mktemp("forks")) as server:
        yield server
