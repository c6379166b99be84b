"""Checks a class against the protocol of its group, before a model is loaded."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

from omegaconf import OmegaConf

from dsnot_exp.methods.allocation import Allocator, Searcher, Surveyor
from dsnot_exp.methods.block_protocols import BlockReconstructor
from dsnot_exp.methods.protocols import Finetuner, Pruner, Reconstructor, Refiner, Rows
from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.utils.errors import RequestError, first_line

FROZEN = "@dataclass(frozen=True)"
# How the attributes of a protocol are written, where the name alone does not say it.
WRITTEN = {
    "needs": "needs: ClassVar[Needs] = frozenset({Statistic.NORM}), the statistics that it reads",
    "rows": 'rows: ClassVar[Rows] = "independent", or "together" if it looks at all rows at once',
    "skip": "skip: list[str] = field(default_factory=list), linears that keep their initial mask",
    "gradients": "gradients: ClassVar[int] = 0, the sequences of whose loss it takes the gradient",
    "seqlen": "seqlen: int | None = None, the tokens of a sequence, as an option",
}
NO_OPTIONS = ("needs", "rows")
BY_KEYWORD = ("is_expert",)  # the other arguments are given by position


def protocol_of(group: str, kind: type) -> type:
    """The protocol that a class of a group has to follow."""
    if group == "allocate":
        if hasattr(kind, "search"):
            return Searcher
        surveys = hasattr(kind, "survey") or hasattr(kind, "allocate")
        return Surveyor if surveys else Allocator
    if group == "reconstruct":
        return BlockReconstructor if hasattr(kind, "train_block") else Reconstructor
    return {"prune": Pruner, "refine": Refiner, "finetune": Finetuner}[group]


def refuse_unless_conforming(what: str, group: str, found: Any) -> None:
    """Raise a RequestError that says what `found` lacks. what: the beginning of the line, which
    names the class"""
    if not isinstance(found, type) or not is_dataclass(found):
        raise RequestError(f"{what} is not a dataclass; write {FROZEN} above a class")
    _refuse_fields(what, found)
    protocol = protocol_of(group, found)
    for name, member in vars(protocol).items():
        if isinstance(member, property):
            _refuse_attribute(what, protocol, name, found)
        elif inspect.isfunction(member) and (name == "__call__" or not name.startswith("_")):
            _refuse_signature(what, protocol, name, found)
    _refuse_values(what, found)


def _refuse_fields(what: str, found: type) -> None:
    """Its fields are the options of the method, which never change."""
    if "__dataclass_fields__" not in vars(found):
        raise RequestError(
            f"{what} is not a dataclass by itself, so what it adds to {found.__base__.__name__} "  # type: ignore[union-attr]
            f"would be no options; write {FROZEN} above it"
        )
    if not found.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise RequestError(f"{what} could be changed while it runs; write {FROZEN} above it")
    for field in fields(found):
        if field.name in NO_OPTIONS:
            raise RequestError(f"{what}: {field.name} is an option; write {WRITTEN[field.name]}")
        if field.name == "name" or not field.init:
            raise RequestError(f"{what}: {field.name} cannot be an option; rename it")
    try:
        OmegaConf.structured(found)
    except Exception as error:  # OmegaConf's, or of an annotation that cannot be read
        raise RequestError(
            f"{what}: its options cannot be typed ({first_line(error)}); an option is a bool, int, "
            "float, str, Enum, a list or dict of them, or one of them or None"
        ) from error


def _refuse_attribute(what: str, protocol: type, name: str, found: type) -> None:
    written = f"{_a(protocol)} has {WRITTEN.get(name, name)}"
    options = [field.name for field in fields(found)]
    if not hasattr(found, name) and name not in options:
        raise RequestError(f"{what} has no {name}; {written}")
    if protocol is Finetuner and name == "seqlen" and name not in options:
        raise RequestError(f"{what}: {name} is no option; {written}")


def _refuse_signature(what: str, protocol: type, name: str, found: type) -> None:
    """Every method of the protocol takes its arguments."""
    wanted = [n for n in inspect.signature(vars(protocol)[name]).parameters if n != "self"]
    written = f"{_a(protocol)} has {name}({', '.join(['self', *wanted])})"
    own = _own(found, name)
    if own is None:
        raise RequestError(f"{what} has no {name}; {written}")
    signature = inspect.signature(getattr(found, name))
    selfless = isinstance(own, staticmethod | classmethod)
    given = [None] * (len([n for n in wanted if n not in BY_KEYWORD]) + (not selfless))
    try:
        signature.bind(*given, **{n: None for n in wanted if n in BY_KEYWORD})
    except TypeError as error:
        raise RequestError(
            f"{what}: {name}{signature} does not fit ({error}); {written}"
        ) from error


def _a(protocol: type) -> str:
    name = protocol.__name__
    return f"an {name}" if name.startswith("A") else f"a {name}"


def _own(found: type, name: str) -> Any:
    """The method of this name, or None. A class itself can be called: that does not count."""
    for base in found.__mro__[:-1]:
        if name in vars(base):
            member = vars(base)[name]
            return member if callable(member) or isinstance(member, classmethod) else None
    return None


def _refuse_values(what: str, found: type) -> None:
    """The values of `needs` and `rows`, with the defaults of the options."""
    required = [f for f in fields(found) if f.default is MISSING and f.default_factory is MISSING]
    try:
        made: Any = found if required else found()
        needs, rows = getattr(made, "needs", None), getattr(made, "rows", None)
    except Exception as error:
        raise RequestError(f"{what} fails with its own defaults ({first_line(error)})") from error
    if needs is not None and not isinstance(needs, property):
        _refuse_needs(what, needs)
    choices = get_args(Rows)
    if rows is not None and not isinstance(rows, property) and rows not in choices:
        raise RequestError(f"{what}: rows is {rows!r}; choose from {', '.join(choices)}")


def _refuse_needs(what: str, needs: Any) -> None:
    """`needs = {"Gram"}` would collect nothing, and the method would run without its statistics."""
    listed = list(needs) if isinstance(needs, frozenset | set | tuple | list) else [needs]
    for need in listed:
        if not isinstance(need, Statistic):
            choices = ", ".join(f"Statistic.{one.name}" for one in Statistic)
            raise RequestError(
                f"{what}: needs {need!r}, which is not collected; choose from {choices}"
            )
    if not isinstance(needs, frozenset):
        raise RequestError(f"{what}: needs is no frozenset; write {WRITTEN['needs']}")
