"""A package that can be called as a function: `dsnot_exp.evaluate(...)`, though `evaluate` is also
the name of a folder, which Python puts in the same place once something in it is imported."""

from __future__ import annotations

import sys
from inspect import Signature, signature
from pkgutil import resolve_name
from types import ModuleType
from typing import Any


def make_callable(package: str, function: str) -> None:
    """Calling `package` calls `function`, such as `dsnot_exp.api.evaluate:evaluate`, which is
    imported at the first call."""

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return resolve_name(function)(*args, **kwargs)

        @property
        def __signature__(self) -> Signature:
            return signature(resolve_name(function))

    sys.modules[package].__class__ = CallablePackage
