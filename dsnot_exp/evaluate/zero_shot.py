"""Zero-shot accuracy through lm-eval, in the same process."""

from __future__ import annotations

import logging
from typing import Any

from dsnot_exp.errors import RequestError
from dsnot_exp.paths import cache
from dsnot_exp.quiet import silent_stderr
from dsnot_exp.tinyworld import tasks as tinyworld

BATCH = 64  # items per forward; they are short


def task_manager(tasks: list[str]) -> Any:
    """lm-eval's index of tasks; refuses unknown names. Builds tinyworld's items if they are named.

    lm-eval's own index is only read where one of its tasks is named: it takes seconds.
    """
    from lm_eval.tasks import TaskManager  # imports slowly

    folder = cache() / "tinyworld"
    try:
        own = tinyworld.build(folder)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written ({error.strerror}); set DSNOT_EXP_CACHE to a folder for "
            "tinyworld's task items"
        ) from error
    manager = TaskManager(include_path=str(folder), include_defaults=not set(tasks) <= set(own))
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise RequestError(
            f"eval.tasks={unknown[0]}: lm-eval has no such task; `lm-eval ls tasks` lists them, "
            f"and tinyworld's are {', '.join(own)}"
        )
    return manager


def zero_shot(
    model: Any,
    tokenizer: Any,
    tasks: list[str],
    manager: Any,
    limit: int | None,
    batch_size: int | None,
) -> dict[str, dict[str, Any]]:
    """task -> {acc, acc_stderr, acc_norm, acc_norm_stderr, version, items}."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    with silent_stderr():
        answers = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size or BATCH),
            tasks=tasks,
            task_manager=manager,
            limit=limit,
            log_samples=False,
        )
    return {
        task: {
            **_metrics(answers["results"][task]),
            "version": answers["versions"].get(task),
            "items": answers["n-samples"].get(task, {}).get("effective"),
        }
        for task in answers["results"]
    }


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """lm-eval's `acc,none` -> `acc`."""
    return {
        key.split(",")[0]: value
        for key, value in result.items()
        if "," in key and isinstance(value, float)
    }
