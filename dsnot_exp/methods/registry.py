"""Every method by its group and name: ours, and those that other packages install as plug-ins.

A plug-in is a dataclass that follows the protocol of its group (protocols.py), named by an entry
point. In the plug-in's pyproject.toml:

    [project.entry-points."dsnot_exp.prune"]
    mymethod = "my_package:MyMethod"

makes `prune=mymethod` work; its options are the fields of the dataclass.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from dsnot_exp.methods.allocate.options import (
    AlphaOptions,
    FileOptions,
    FisherOptions,
    LinearOptions,
    OWLOptions,
    SearchOptions,
)
from dsnot_exp.methods.finetune.options import LoraOptions
from dsnot_exp.methods.prune.options import (
    ALPSOptions,
    MagnitudeOptions,
    RIAOptions,
    SparseGPTOptions,
)
from dsnot_exp.methods.reconstruct.block_options import BlockOptions
from dsnot_exp.methods.reconstruct.options import ADMMOptions, CGOptions, LeastSquaresOptions
from dsnot_exp.methods.refine.dsnot.options import DSnoTOptions
from dsnot_exp.methods.refine.options import MomentsOptions, SwapsOptions
from dsnot_exp.utils.errors import RequestError


@dataclass(frozen=True)
class NoOptions:
    """The options of a method that has none."""


@dataclass(frozen=True)
class Ours:
    """One of our methods. Its class is imported when a run is built, because it needs torch; its
    options are checked before."""

    place: str  # module:class, below dsnot_exp.methods
    options: type = NoOptions

    def load(self) -> type:
        found: type = resolve_name(f"dsnot_exp.methods.{self.place}")
        return found


DSNOT = Ours("refine.dsnot.method:DSnoT", DSnoTOptions)
OURS: dict[str, dict[str, Ours]] = {
    "allocate": {
        "uniform": Ours("allocate.uniform:Uniform"),
        "fisher": Ours("allocate.fisher:Fisher", FisherOptions),
        "owl": Ours("allocate.owl:OWL", OWLOptions),
        "alpha": Ours("allocate.alpha:Alpha", AlphaOptions),
        "linear": Ours("allocate.linear:Linear", LinearOptions),
        "search": Ours("allocate.search:Search", SearchOptions),
        "file": Ours("allocate.file:FromFile", FileOptions),
    },
    "prune": {
        "magnitude": Ours("prune.magnitude:Magnitude", MagnitudeOptions),
        "wanda": Ours("prune.wanda:Wanda"),
        "sparsegpt": Ours("prune.sparsegpt:SparseGPT", SparseGPTOptions),
        "ria": Ours("prune.ria:RIA", RIAOptions),
        "alps": Ours("prune.alps:ALPS", ALPSOptions),
    },
    # `dsnot_official` is DSnoT with the released defaults: conf/refine/dsnot_official.yaml.
    "refine": {
        "dsnot": DSNOT,
        "dsnot_official": DSNOT,
        "swaps": Ours("refine.swaps:Swaps", SwapsOptions),
        "moments": Ours("refine.moments:Moments", MomentsOptions),
    },
    "reconstruct": {
        "none": Ours("reconstruct.none:Keep"),
        "cg": Ours("reconstruct.cg:ConjugateGradients", CGOptions),
        "admm": Ours("reconstruct.admm:ADMM", ADMMOptions),
        "lstsq": Ours("reconstruct.lstsq:LeastSquares", LeastSquaresOptions),
        "block": Ours("reconstruct.block:Block", BlockOptions),
    },
    "finetune": {"lora": Ours("finetune.lora:Lora", LoraOptions)},
}
NONE = "none"  # in every group but `allocate`: the stage does nothing


def names(group: str) -> list[str]:
    """The names that `group` accepts, ours first."""
    return [*OURS[group], *(name for name in sorted(plugins(group)) if name not in OURS[group])]


def method(group: str, name: str) -> type:
    """The class of a method. Raises RequestError for an unknown name and for a plug-in that cannot
    be used."""
    if name in OURS[group]:
        return OURS[group][name].load()
    if name not in plugins(group):
        choices = dict.fromkeys([*names(group), *([NONE] if group != "allocate" else [])])
        raise RequestError(f"{group}={name}: choose from {', '.join(choices)}")
    point = plugins(group)[name]
    try:
        found = point.load()
    except Exception as error:  # whatever the plug-in's import raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RequestError(f"{group}={name}: the plug-in {point.value} fails ({reason})") from error
    if not (isinstance(found, type) and is_dataclass(found)):
        raise RequestError(f"{group}={name}: the plug-in {point.value} is not a dataclass")
    refuse_unknown_needs(f"{group}={name}", found)
    return found


def options_of(group: str, name: str) -> type:
    """The dataclass whose fields are the options of a method: of a plug-in its own class."""
    ours = OURS[group].get(name)
    return method(group, name) if ours is None else ours.options


def options(group: str, name: str) -> dict[str, Any]:
    """A method's options with their defaults, as plain data."""
    own = options_of(group, name)()
    return {field.name: getattr(own, field.name) for field in fields(own)}


def refuse_unknown_needs(key: str, found: type) -> None:
    """`needs = {"Gram"}` would collect nothing, and the method would run without its statistics."""
    from dsnot_exp.methods.statistics import Statistic  # imports torch, as the plug-in has

    needs: Any = getattr(found, "needs", frozenset())
    for need in needs:
        if not isinstance(need, Statistic):
            choices = ", ".join(f"Statistic.{one.name}" for one in Statistic)
            raise RequestError(
                f"{key}: needs {need!r}, which is not collected; choose from {choices}"
            )


def origin(group: str, name: str) -> str | None:
    """The distribution and version that a plug-in comes from; None for our own methods. A result
    depends on it as on our own code."""
    if name in OURS[group] or name not in plugins(group):
        return None
    found = plugins(group)[name].dist
    return None if found is None else f"{found.name} {found.version}"


@functools.cache
def plugins(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"dsnot_exp.{group}")}
