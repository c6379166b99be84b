"""lm-eval tasks: find them and load their data before any expensive work starts."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any

from dsnot_exp.data.hub import cache_if_unreachable
from dsnot_exp.tinyworld import tasks as tinyworld
from dsnot_exp.utils.errors import RequestError, RunError, first_line
from dsnot_exp.utils.paths import cache
from dsnot_exp.utils.quiet import silent_stderr

# Requested name -> lm-eval's tasks: one task, or all tasks of a group or tag.
Tasks = dict[str, Any]


def load_tasks(names: list[str]) -> Tasks:
    """Load tasks and their data. Raise on unknown names and unavailable data.

    A name may be a glob or the path of a task's YAML file.
    """
    manager = task_manager(names)
    loaded = {}
    with silent_stderr(), cache_if_unreachable() as why:
        for asked in names:
            for name in [asked] if _is_file(asked) else manager.match_tasks([asked]):
                loaded[name] = _load(manager, name, why)
    return loaded


def _is_file(name: str) -> bool:
    return name.endswith(".yaml") and Path(name).is_file()


def task_manager(names: list[str]) -> Any:
    """lm-eval's index of tasks. Raises on unknown names. Writes tinyworld's items.

    Reading lm-eval's built-in index takes seconds, so it is read once, and only if one of its
    tasks is requested.
    """
    folder = cache() / "tinyworld"
    try:
        own = tinyworld.build(folder)
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot write tinyworld's task items ({error.strerror}); set "
            "DSNOT_EXP_CACHE to a writable folder"
        ) from error
    others = [name for name in names if name not in own and not _is_file(name)]
    manager = _index(str(folder), bool(others))
    for name in others:
        if not manager.match_tasks([name]):
            near = difflib.get_close_matches(name, manager.all_tasks, 4)
            meant = f"did you mean {', '.join(near)}? " if near else ""
            raise RequestError(
                f"eval.tasks={name}: no such task; {meant}`lm-eval ls tasks` lists lm-eval's "
                f"tasks, and tinyworld's are {', '.join(own)}"
            )
    return manager


@functools.cache
def _index(folder: str, defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager  # slow import

    return TaskManager(include_path=folder, include_defaults=defaults)


def _load(manager: Any, name: str, unreachable: str) -> Any:
    try:
        return manager.load([name])
    except ImportError as error:  # some tasks need extra packages
        raise RequestError(f"eval.tasks={name}: {first_line(error)}") from error
    except Exception as error:  # the type depends on network library, hub and reader
        reason = f"{unreachable}, and {first_line(error)}" if unreachable else first_line(error)
        raise RunError(
            f"eval.tasks={name}: cannot load its data ({reason}); run once online to cache it, or "
            "remove the task"
        ) from error


def data_of(loaded: Any) -> dict[str, Any]:
    """What a task's results depend on besides its name: its version and its data."""
    return {
        name: [task.VERSION, [getattr(part, "_fingerprint", None) for part in _splits(task)]]
        for name, task in loaded["tasks"].items()
    }


def _splits(task: Any) -> list[Any]:
    return list(task.dataset.values()) if hasattr(task.dataset, "values") else []


def refuse_tokenizer_without_marks(tokenizer: Any, path: str | None) -> None:
    """Raise without a start or end token: lm-eval begins an empty context with one of them."""
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        raise RequestError(
            f"model.path={path}: its tokenizer has neither a bos_token nor an eos_token, and "
            "eval.tasks needs one; set one in its tokenizer_config.json, or use eval=ppl"
        )
