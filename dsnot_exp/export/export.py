"""Export one run: find its sparse model, write it in a format, say what that takes on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsnot_exp import __version__
from dsnot_exp.export.destination import marked, refuse_destination, written_aside
from dsnot_exp.export.model_files import bring, weight_files
from dsnot_exp.export.semi_structured import FORM as SEMI_STRUCTURED
from dsnot_exp.export.semi_structured import checked, here, refuse_elsewhere
from dsnot_exp.export.sparse_model import sparse_model
from dsnot_exp.models.packed_files import BITMASK, TWO_FOUR, Index, read_index, write_packed
from dsnot_exp.models.shards import Shards, size_in
from dsnot_exp.results.card.write import write_card
from dsnot_exp.results.file import NAME
from dsnot_exp.run.lock import lock_folder
from dsnot_exp.run.model_card import base_licence
from dsnot_exp.utils.console import say
from dsnot_exp.utils.errors import RequestError, RunError
from dsnot_exp.utils.words import megabytes

PLAIN = "plain"
SCHEMA = 1


def export(run: Path, result: dict[str, Any], form: str, out: Path, where: str | None) -> None:
    """Write the sparse model of a run into the folder `out`. An export that is there already is
    kept, and only its card is written anew.

    where: the model's id on the hub, for the card
    """
    if form in (TWO_FOUR, SEMI_STRUCTURED):
        refuse_other_patterns(run, result, form)
    if form == SEMI_STRUCTURED:
        refuse_elsewhere(run, result)
    mark = _mark(run, result, form)
    with lock_folder(run, wait=True):
        refuse_destination(out, result["config_hash"])
        if marked(out) == mark:
            say(f"already exported: {out}")
        else:
            _write(run, result, form, out, mark)
        index = None if form == PLAIN else read_index(out)
        licence = base_licence(run, result)
        size = None if index is None else _sizes(index)
        write_card(out, result, licence, form, size, where)
    for line in _said(out, form, index):
        say(line)


def _write(run: Path, result: dict[str, Any], form: str, out: Path, mark: dict[str, Any]) -> None:
    with written_aside(out, mark) as folder, sparse_model(run, result, folder) as model:
        bring(model, folder, weights=form == PLAIN)
        if form == PLAIN:
            return
        layout = TWO_FOUR if form == SEMI_STRUCTURED else form
        index = write_packed(weight_files(model), folder, layout)
        if layout == TWO_FOUR:
            _refuse_incomplete(run, result, index, form)
        elif not index.names(BITMASK):
            raise RequestError(
                f"--format {form}: no tensor of {run} has enough zeros to get smaller; choose "
                f"--format {PLAIN}"
            )
        if form == SEMI_STRUCTURED:
            for line in checked(folder):
                say(line)


def refuse_other_patterns(run: Path, result: dict[str, Any], form: str) -> None:
    """Raise if the run did not make every pruned layer 2:4."""
    pattern = result["config"].get("pattern")
    if result["config"]["prune"]["name"] == "none":
        pattern = (result["model"].get("sparse") or {}).get("pattern")
    if pattern != TWO_FOUR:
        raise RequestError(
            f"--format {form}: {run} has the pattern {pattern}; run it with "
            f"pattern={TWO_FOUR}, or choose --format {BITMASK}"
        )
    for layer, target in result["sparsity"].get("targets", {}).items():
        if target != TWO_FOUR:
            raise RequestError(
                f"--format {form}: {layer} of {run} is {target}, not {TWO_FOUR}; choose "
                f"--format {BITMASK}"
            )


def _refuse_incomplete(run: Path, result: dict[str, Any], index: Index, form: str) -> None:
    expected = result["model"]["prunable_parameters"]
    if index.entries < expected:
        raise RunError(
            f"--format {form}: only {index.entries} of the {expected} prunable weights of "
            f"{run} fit; choose --format {BITMASK}"
        )


def _mark(run: Path, result: dict[str, Any], form: str) -> dict[str, Any]:
    """Two exports with the same mark hold the same model, checked on the same GPU if on any. A
    rerun writes another result."""
    return {
        "schema": SCHEMA,
        "format": form,
        "config_hash": result["config_hash"],
        "result_sha256": hashlib.sha256((run / NAME).read_bytes()).hexdigest(),
        "version": __version__,
        **({"checked_on": here()} if form == SEMI_STRUCTURED else {}),
    }


def _sizes(index: Index) -> dict[str, int]:
    return {"dense": index.dense, "packed": index.packed, "rest": index.rest}


def _said(out: Path, form: str, index: Index | None) -> Iterator[str]:
    yield f"exported  {out} ({form})"
    if index is None:
        total = size_in(Shards(weight_files(out)).entries.values())
        yield f"size      {megabytes(total)}, as much as the dense model"
        return
    names = index.names(index.format)
    whole, dense = index.packed + index.rest, index.dense + index.rest
    yield (
        f"pruned    {len(names)} tensors: {megabytes(index.dense)} dense, "
        f"{megabytes(index.packed)} packed, {index.packed / index.dense:.3f} of it"
    )
    yield (
        f"model     {megabytes(dense)} dense, {megabytes(whole)} packed, {whole / dense:.3f} of it"
    )
    how = ', device="cuda", semi_structured=True' if form == SEMI_STRUCTURED else ""
    yield f"load      dsnot_exp.load_packed({json.dumps(str(out))}{how})"
