"""Every method by its group and name: ours, and plug-ins.

A plug-in is a dataclass that follows the protocol of its group (protocols.py). Its options are the
fields of the dataclass. It is in a file that `plugins=` names (plugins/file.py), or an entry point
of an installed package. In that package's pyproject.toml:

    [project.entry-points."dsnot_exp.prune"]
    mymethod = "my_package:MyMethod"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pkgutil import resolve_name
from typing import Any

from omegaconf import OmegaConf

from dsnot_exp.methods.allocate.options import (
    AlphaOptions,
    FileOptions,
    FisherOptions,
    LinearOptions,
    OWLOptions,
    SearchOptions,
)
from dsnot_exp.methods.finetune.options import LoraOptions
from dsnot_exp.methods.plugins import known
from dsnot_exp.methods.plugins.file import PluginFile
from dsnot_exp.methods.plugins.known import Installed
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


def use_files(given: Sequence[str], anew: bool = False) -> None:
    """Add the methods of the files that `plugins=` names; see plugins/known.py."""
    known.use_files(given, OURS, anew)


def used_files() -> list[str]:
    return known.used_files()


def names(group: str) -> list[str]:
    """The names that `group` accepts, ours first."""
    return [*OURS[group], *sorted(known.names(group) - {*OURS[group]})]


def method(group: str, name: str) -> type:
    """The class of a method. Raises RequestError for an unknown name and for a plug-in that cannot
    be used."""
    if name in OURS[group]:
        return OURS[group][name].load()
    source = known.source(group, name)
    if source is None:
        choices = dict.fromkeys([*names(group), *([NONE] if group != "allocate" else [])])
        raise RequestError(f"{group}={name}: choose from {', '.join(choices)}")
    return source.load(group, name)


def options_of(group: str, name: str) -> type:
    """The dataclass whose fields are the options of a method: of a plug-in its own class."""
    ours = OURS[group].get(name)
    return method(group, name) if ours is None else ours.options


def options(group: str, name: str) -> dict[str, Any]:
    """A method's options with their defaults, as plain data; `???` stands for one that has to be
    given."""
    kind = options_of(group, name)
    if any(field.default is field.default_factory is MISSING for field in fields(kind)):
        plain = OmegaConf.to_container(OmegaConf.structured(kind))
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}
    own = kind()
    return {field.name: getattr(own, field.name) for field in fields(own)}


def plugin(group: str, name: str) -> PluginFile | Installed | None:
    """Where the code of a method comes from that is not ours. A result depends on it as on our own
    code."""
    return None if name in OURS[group] else known.source(group, name)
