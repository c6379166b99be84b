"""The command: reads its words, hands them to Hydra, and completes a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra

from dsnot_exp.config import register_schema
from dsnot_exp.launch import completion, failure, leftovers
from dsnot_exp.launch.plugin_words import use_typed
from dsnot_exp.launch.refuse import refuse
from dsnot_exp.launch.task import task
from dsnot_exp.launch.words import Words
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.paths import beside_or_inside


def run_command() -> int:
    """Run what `sys.argv` asks for; returns the exit code."""
    register_schema()
    os.environ[failure.TRACE] = "1" if failure.trace_wanted else "0"
    os.environ[failure.FULL_ERROR] = "1"  # Hydra raises instead of printing; we print
    leftovers.expect_nothing()
    try:
        return failure.code_of(read_words) or _run()
    finally:
        leave()
        leftovers.remove_sweep()
        del os.environ[failure.TRACE]
        if not failure.trace_wanted:
            del os.environ[failure.FULL_ERROR]


def read_words() -> None:
    """Refuse what cannot be meant, and leave the words in `sys.argv` as Hydra reads them."""
    words = Words(sys.argv[1:])
    own = words.flags.config_dir
    if own is not None and not Path(own).is_dir():
        raise RequestError(f"--config-dir={own}: no such folder; docs/extending.md shows one")
    if words.completes:
        completion.hide_flags()
    else:
        use_typed(words)
    if words.starts:
        refuse(words.parsed(), words.sweeps, own)
    sys.argv[1:] = words.arranged()


def _run() -> int:
    words = Words(sys.argv[1:])
    if words.completes and (script := completion.SCRIPTS.get(" ".join(words.options))):
        print(script)
        return 0
    conf = str(beside_or_inside("conf"))
    runs = hydra.main(version_base="1.3", config_path=conf, config_name="config")(task)
    return _completed(failure.code_of(runs), runs)


def _completed(code: int, runs: Callable[[], object]) -> int:
    if "dsnot_exp.launch.sweep" not in sys.modules:  # Hydra loads it
        return code
    from dsnot_exp.launch.sweep import complete

    return complete(code, lambda: failure.code_of(runs))


def leave() -> None:
    """Leave the process group, if this process has joined one."""
    if "dsnot_exp.utils.distributed" in sys.modules:
        sys.modules["dsnot_exp.utils.distributed"].leave()
