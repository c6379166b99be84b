"""A model that was pruned in memory, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsnot_exp.api.arguments import ArgumentError
from dsnot_exp.api.load import mask_overlap
from dsnot_exp.api.masks import Masks
from dsnot_exp.api.tables import layer_table
from dsnot_exp.api.undisturbed import quiet
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.save import save_model
from dsnot_exp.models.source import Source
from dsnot_exp.models.sparse_record import read_record
from dsnot_exp.results.method_names import joined, methods_of, pretty
from dsnot_exp.utils.folders import recover
from dsnot_exp.walk.sparsified import Sparsified

if TYPE_CHECKING:
    from pandas import DataFrame

MARK = "dsnot_exp-"  # in the names of folders that are being saved


@dataclass(frozen=True, repr=False)
class Sparse:
    """The outcome of `dsnot_exp.prune`.

    model: sparse; the object that was given
    masks: by layer, (out, in) bool, True = kept
    config: all options, as in result.json
    data: where the calibration tokens are from, with hashes, as in result.json
    seconds: by phase
    warnings: what the user must know before using the model, one sentence each
    """

    model: Any
    tokenizer: Any
    masks: Masks
    config: dict[str, Any]
    data: dict[str, Any] | None
    seconds: dict[str, float]
    warnings: list[str]
    placed: Placed = field(repr=False)
    found: Sparsified = field(repr=False)
    record: dict[str, Any] | None = field(repr=False)
    seconds_by_layer: Mapping[str, float] = field(repr=False)

    @property
    def masks_sha256(self) -> str:
        """Over every layer's name, shape and mask: equal to result.json's for equal masks."""
        return self.found.masks_sha256

    @property
    def notes(self) -> dict[str, str]:
        """By layer, where its method had to do something else."""
        return self.found.notes

    @property
    def sparsity(self) -> float:
        """Zeros / weights over all pruned layers."""
        weights = sum(record.weights for record in self.found.records)
        return sum(record.zeros for record in self.found.records) / max(1, weights)

    @property
    def layers(self) -> DataFrame:
        """One row per layer: its weights and zeros, its errors before and after refinement, swaps,
        and the seconds that its methods took."""
        return layer_table(self.found, self.seconds_by_layer)

    def mask_overlap(self, other: Any) -> DataFrame:
        """Per layer, how far the masks agree with those of a run, its folder, another outcome of
        `prune`, or a dict by layer; columns as those of `Run.mask_overlap`."""
        return mask_overlap(self.masks, other)

    def save_pretrained(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Save model and tokenizer as `save=true` does: a folder that plain transformers loads.
        It is written under another name and renamed, so that an interrupted save leaves nothing
        that looks finished.

        overwrite: replace a folder that holds a sparse model of this package
        """
        place = Path(folder).expanduser().absolute()
        self._refuse_changed()
        recover(place, MARK)
        _refuse_place(place, overwrite)
        with quiet(True):
            save_model(self.placed, self.tokenizer, place, self.record, MARK)
        return place

    def _refuse_changed(self) -> None:
        """Raise if a weight that was pruned is not zero any more: the record would be wrong."""
        for layer, linear in all_linears(self.placed.blocks, self.placed.dense).items():
            mask = self.masks[layer].to(linear.weight.device)
            if bool(linear.weight.masked_select(~mask).any()):
                raise ArgumentError(
                    f"model: {layer} is no longer sparse as it was pruned; save the changed model "
                    "with model.save_pretrained"
                )

    def __repr__(self) -> str:
        methods = pretty(joined(methods_of(self.config)))
        pattern = self.config["pattern"]
        kind = "" if pattern == "unstructured" else f" ({pattern})"
        return (
            f"<{type(self.model).__name__} pruned by {methods}: {self.sparsity:.1%} zeros{kind} in "
            f"{len(self.masks)} layers, masks {self.masks_sha256[:8]}>"
        )

    def _repr_html_(self) -> str:
        text = repr(self).strip("<>")
        return f"<p>{text}</p>{self.layers._repr_html_()}"


def _refuse_place(place: Path, overwrite: bool) -> None:
    """Raise for a file, and for a folder with anything in it that may not be replaced."""
    if place.is_file():
        raise ArgumentError(f"folder={place}: a file; give a new or empty folder")
    if not place.exists() or not any(place.iterdir()):
        return
    if read_record(Source(str(place))) is None:
        raise ArgumentError(f"folder={place}: holds other files; give a new or empty folder")
    if not overwrite:
        raise ArgumentError(
            f"folder={place}: holds a sparse model; give overwrite=True, or another folder"
        )
