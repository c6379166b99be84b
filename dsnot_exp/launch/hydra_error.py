"""Says Hydra's errors in one line: the key, the value and what is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.config import Config
from dsnot_exp.launch.hydra_setup import missing_plugin
from dsnot_exp.launch.refuse import no_choice
from dsnot_exp.methods import registry
from dsnot_exp.methods.notation import AMOUNT
from dsnot_exp.utils.errors import DsnotError
from dsnot_exp.utils.wanted import accepted, did_you_mean, expected, names

ALL = "`python -m dsnot_exp --cfg job` lists all options"

SPECIAL = {"sparsity": AMOUNT}


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        # OmegaConf raises some errors while it handles their cause
        implied = found.__context__ if isinstance(found, OmegaConfBaseException) else None
        found = found.__cause__ or implied


def own_error(error: BaseException) -> DsnotError | None:
    """The error of ours that Hydra has wrapped, if any."""
    return next((one for one in causes(error) if isinstance(one, DsnotError)), None)


def explain(error: BaseException) -> str:
    """Hydra's or OmegaConf's exception in one line."""
    message = str(error).split("Config search path")[0]
    if (line := missing_plugin(message)) is not None:
        return line
    missing = re.search(r"Could not find '(hydra/\w+|\w+)/([^']*)'(.*)", message, re.DOTALL)
    if missing is not None and "Available options" in missing[3]:
        known = re.findall(r"^\t(\S+)$", missing[3], re.MULTILINE)
        return no_choice(missing[1], missing[2], known)
    unknown = re.match(r"Could not override '([^']+)'\.", message)
    if unknown is not None:
        return f"{unknown[1]}: no such option{_near(unknown[1])}; {ALL}"
    word = re.match(r"Error merging override (.*)", message)
    for one in causes(error):
        key = one.full_key if isinstance(one, OmegaConfBaseException) else None
        if word is not None and key and (kind := accepted(Config, key)) is not None:
            return f"{word[1]}: expected {SPECIAL.get(key) or expected(kind)}"
        if key:
            return f"{key}: {str(one).splitlines()[0]}"
    return message


def _near(key: str) -> str:
    known = option_names()
    return "" if key in known else did_you_mean(key, known).rstrip("?")


def option_names() -> list[str]:
    """Every option, those of all methods included."""
    found = names(Config)
    for group in registry.OURS:
        for name in registry.names(group):
            try:
                found += [f"{group}.{key}" for key in registry.options(group, name)]
            except (DsnotError, TypeError):  # a broken plug-in
                continue
    return [*dict.fromkeys(found)]
