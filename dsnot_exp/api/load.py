"""`dsnot_exp.load_run`: what a finished run has left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsnot_exp.api.arguments import ArgumentError, named_arguments
from dsnot_exp.api.tables import layers_of_result, metric_table, overlap_table
from dsnot_exp.config import ModelConfig
from dsnot_exp.results.file import NAME, NOTE, has_model, kept_folder, recorded_error
from dsnot_exp.results.method_names import method_of
from dsnot_exp.results.read import read_result
from dsnot_exp.utils.errors import RunError

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor


def load_run(folder: str | Path) -> Run:
    """The run in `folder`, such as "outputs/runs/tinyworld-wanda-0.5-dsnot-73a59ff0"; also the path
    of its result.json. Raises ArgumentError if there is no result."""
    place = Path(folder).expanduser()
    place = place.parent if place.name == NAME else place
    if not place.is_dir():
        raise ArgumentError(f"folder={folder}: no such folder")
    if not (place / NAME).exists():
        why = f" ({recorded_error(place)})" if (place / NOTE).exists() else ""
        raise ArgumentError(
            f"folder={folder}: no {NAME} in it{why}; give the folder of a finished run"
        )
    try:
        result = read_result(place / NAME)
    except ValueError as error:
        raise ArgumentError(f"folder={folder}: its {NAME} cannot be read ({error})") from error
    return Run(place, result)


@dataclass(frozen=True)
class Run:
    """A run's folder, and the content of its result.json."""

    folder: Path
    result: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """All options, as in result.json."""
        found: dict[str, Any] = self.result["config"]
        return found

    @property
    def metrics(self) -> DataFrame:
        """Columns kind, name, metric, and one per stage: dense, pruned, refined."""
        return metric_table(self.result)

    @property
    def layers(self) -> DataFrame:
        """One row per pruned layer: its sparsity, and its errors before and after refinement."""
        return layers_of_result(self.result)

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """By layer, (out, in) bool, True = kept. Raises RunError if the run has kept none."""
        from dsnot_exp.models.masks import load_masks

        try:
            return load_masks(self._kept())
        except OSError as error:
            raise RunError(f"{self.folder}: its masks cannot be read ({error})") from error

    def _kept(self) -> Path:
        """The folder of the sparse model that this run has kept."""
        place = kept_folder(self.folder, self.result)
        if place is None:
            raise RunError(
                f"{self.folder}: its masks were not kept; repeat the run with keep=masks rerun=true"
            )
        return place

    def mask_overlap(self, other: Any) -> DataFrame:
        """Per layer, how far the masks agree with those of another run (a Run or its folder), of
        `dsnot_exp.prune`, or in a dict by layer: `jaccard` is weights kept by both / by at least
        one, `share_equal` the share of equal entries."""
        return mask_overlap(self.masks, other)

    def model(self) -> Any:
        """The run's sparse model, in memory: the one that it saved, or else its base model with the
        kept masks and weights."""
        from dsnot_exp.api.undisturbed import quiet
        from dsnot_exp.run.restored import restored, saved

        with named_arguments(), quiet(True):
            if has_model(self.folder):
                return saved(self.folder)
            if method_of(self.config, "finetune") != "none":
                raise RunError(
                    f"{self.folder}: its model was trained after pruning, and not saved; repeat "
                    "the run with save=true"
                )
            return restored(ModelConfig(**self.config["model"]), self._kept())

    def __repr__(self) -> str:
        zeros = self.result["sparsity"].get("achieved")
        told = "" if zeros is None else f", {zeros:.1%} zeros"
        return f"<run {self.folder.name}: {self.result.get('status')}{told}>"


def mask_overlap(masks: Mapping[str, Tensor], other: Any) -> DataFrame:
    """masks: by layer; other: see `Run.mask_overlap`"""
    from dsnot_exp.models.masks import overlap

    if isinstance(other, str | Path):
        other = load_run(other)
    others = other if isinstance(other, Mapping) else getattr(other, "masks", None)
    if not isinstance(others, Mapping):
        raise ArgumentError(
            f"other={other!r}: expected a run, its folder, or a model that was pruned"
        )
    try:
        return overlap_table(overlap(masks, others))
    except ValueError as error:
        raise ArgumentError(f"other: {error}") from error
