"""Locates several models at once, within seconds: what cannot be reached must not delay a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.download import bytes_to_download
from dsnot_exp.models.source import Source, locate
from dsnot_exp.utils.errors import DsnotError

PATIENCE_S = 10.0  # for the hub's answers


@dataclass(frozen=True)
class AtHand:
    """source: None if it is not known in time
    to_download: bytes of weights; None: not known
    refused: why the model cannot be used; empty if nothing speaks against it
    """

    source: Source | None = None
    to_download: int | None = None
    refused: str = ""


def at_hand(models: Mapping[str, ModelConfig]) -> dict[str, AtHand]:
    """Each model, by the same name."""
    pool = ThreadPoolExecutor(max_workers=8)
    asked = {name: pool.submit(_look, options) for name, options in models.items()}
    wait(asked.values(), timeout=PATIENCE_S)
    pool.shutdown(wait=False, cancel_futures=True)
    return {
        name: future.result() if future.done() and not future.cancelled() else AtHand()
        for name, future in asked.items()
    }


def _look(options: ModelConfig) -> AtHand:
    try:
        source = locate(options)
    except DsnotError as error:
        return AtHand(refused=str(error))
    return AtHand(source, bytes_to_download(source, options.use_safetensors))
