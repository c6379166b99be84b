"""Builds a method from its group and its options, and checks the options alone."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.methods import registry
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.wanted import refusal


def build(group: str, options: dict[str, Any]) -> Any:
    """Build the method named `options["name"]`; the other options are its fields."""
    return _built(group, options, registry.method(group, options["name"]))


def check(group: str, options: dict[str, Any]) -> Any:
    """The options as their dataclass. Of our own methods this imports no torch."""
    return _built(group, options, registry.options_of(group, options["name"]))


def _built(group: str, options: dict[str, Any], kind: type) -> Any:
    given = {key: value for key, value in options.items() if key != "name"}
    try:
        node = OmegaConf.structured(kind)
        OmegaConf.set_readonly(node, False)
        built = OmegaConf.to_object(OmegaConf.merge(node, given))
    except OmegaConfBaseException as error:
        raise RequestError(refusal(error, group, kind, given)) from error
    except ValueError as error:  # raised by the method's own checks
        raise RequestError(f"{group}.{error}") from error
    assert isinstance(built, kind)
    return built
