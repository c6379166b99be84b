"""Builds a method from its group and its options."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.methods import registry
from dsnot_exp.utils.errors import RequestError


def build(group: str, options: dict[str, Any]) -> Any:
    """Build the method named `options["name"]`; the other options are its fields."""
    given = {key: value for key, value in options.items() if key != "name"}
    method = registry.method(group, options["name"])
    try:
        node = OmegaConf.structured(method)
        OmegaConf.set_readonly(node, False)
        built = OmegaConf.to_object(OmegaConf.merge(node, given))
    except OmegaConfBaseException as error:
        raise RequestError(f"{group}.{error.full_key}: {str(error).splitlines()[0]}") from error
    except ValueError as error:  # raised by the method's own checks
        raise RequestError(f"{group}.{error}") from error
    assert isinstance(built, method)
    return built
