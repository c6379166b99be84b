"""lm-eval tasks: find them and load their data before any expensive work starts."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any

from dsnot_exp.data.hub import cache_if_unreachable
from dsnot_exp.evaluate.task_index import builtin_tasks
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
    managers = _managers(names)
    loaded = {}
    with silent_stderr(), cache_if_unreachable() as why:
        for asked in names:
            if _is_file(asked):
                loaded[asked] = _load(managers[-1], asked, why)
                continue
            for manager in managers:
                for name in manager.match_tasks([asked]):
                    loaded[name] = _load(manager, name, why)
    return loaded


def _is_file(name: str) -> bool:
    return name.endswith(".yaml") and Path(name).is_file()


def _managers(names: list[str]) -> list[Any]:
    """lm-eval's managers: of tinyworld's tasks, whose items are written, and of its own tasks if
    one of them is requested. Raises on unknown names."""
    folder = cache() / "tinyworld"
    try:
        own = tinyworld.build(folder)
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot write tinyworld's task items ({error.strerror}); set "
            "DSNOT_EXP_CACHE to a writable folder"
        ) from error
    others = [name for name in names if name not in own and not _is_file(name)]
    managers = [_tinyworld_tasks(folder), *([builtin_tasks()] if others else [])]
    for name in others:
        if not any(manager.match_tasks([name]) for manager in managers):
            known = [task for manager in managers for task in manager.all_tasks]
            near = difflib.get_close_matches(name, known, 4)
            meant = f"did you mean {', '.join(near)}? " if near else ""
            raise RequestError(
                f"eval.tasks={name}: no such task; {meant}`lm-eval ls tasks` lists lm-eval's "
                f"tasks, and tinyworld's are {', '.join(own)}"
            )
    return managers


@functools.cache
def _tinyworld_tasks(folder: Path) -> Any:
    from lm_eval.tasks import TaskManager  # slow import

    return TaskManager(include_path=str(folder), include_defaults=False)


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
