"""The files that `plugins=` names are read before Hydra composes anything: their methods are among
the choices of every group."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.types import ChoiceSweep
from omegaconf import ListConfig, OmegaConf

from dsnot_exp.launch.hydra_setup import register_methods
from dsnot_exp.launch.words import Words
from dsnot_exp.methods import registry
from dsnot_exp.run.settle import plugin_files
from dsnot_exp.utils.errors import RequestError

KEY = "plugins"
stored: list[str] = []  # the files whose methods Hydra knows


def use_typed(words: Words) -> None:
    """Add the methods of the files that the words name, and of no others."""
    files: list[str] = []
    for option in words.parsed(KEY):
        word = option.input_line or ""
        if not option.is_delete() and isinstance(option._value, ChoiceSweep):
            value = word.partition("=")[2]
            raise RequestError(f"{word}: all runs have the same; write {KEY}=[{value}]")
        if option.is_add():
            raise RequestError(f"{word}: write {word.lstrip('+')}, without +")
        files = [] if option.is_delete() else plugin_files(option.value())
    use(files)


def use_composed(given: Any) -> None:
    """Add the methods of the files that a sweep's YAML file names, before its jobs are composed."""
    plain = OmegaConf.to_container(given) if isinstance(given, ListConfig) else given
    files = plugin_files(plain)
    if files != registry.used_files():  # else they have been typed
        use(files)


def use(files: list[str]) -> None:
    """Add the methods of these files to the choices."""
    registry.use_files(files, anew=True)
    if files or stored:
        register_methods()
    stored[:] = files
