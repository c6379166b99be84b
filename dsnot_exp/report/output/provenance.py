"""Where the runs of a report come from, and in what they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dsnot_exp.report.runs import Run, number
from dsnot_exp.utils.paths import beside_or_inside

FACTS = {
    "git": "code", "device": "device", "threads": "threads", "python": "Python", "torch": "torch",
    "transformers": "transformers", "datasets": "datasets", "lm_eval": "lm-eval",
    "dsnot_exp": "dsnot_exp",
}  # fmt: skip
MOST_TOLD = 12
NOTED = ("git", "device", "threads", "schema")


def facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Names and values. If runs differ, each value has its number of runs."""
    found = []
    for key, name in [*FACTS.items(), ("schema", "schema")]:
        count = _count(runs, key)
        if len(count) > 1:
            found.append((name, ", ".join(f"{v} ({_runs(n)})" for v, n in count.most_common())))
        elif count and next(iter(count)) != "unknown":
            found.append((name, next(iter(count))))
    return found


def warnings(runs: Sequence[Run], broken: Sequence[str]) -> list[str]:
    """What a reader should know before comparing cells."""
    found = []
    names = {"git": "code commits", "device": "devices", "schema": "schemas"}
    for key in NOTED:
        count = _count(runs, key)
        if len(count) > 1:
            values = ", ".join(f"{_brief(v)} ({_runs(n)})" for v, n in count.most_common())
            found.append(
                f"The runs have different {names.get(key, 'numbers of threads')}: {values}."
            )
    dirty = sum(str(_fact(run, "git")).endswith("-dirty") for run in runs)
    if dirty:
        found.append(f"{_runs(dirty)} had uncommitted code changes.")
    incomplete = sum(run.incomplete for run in runs)
    if incomplete:
        found.append(f"{_runs(incomplete)} did not complete: part of the evaluation failed.")
    resumed = sum(bool(number(run.result.get("resumed"))) for run in runs)
    if resumed:
        found.append(f"{_runs(resumed)} resumed after a stop: the times add up all processes.")
    told = _told(runs)
    found += [f"{who}: {line}." for line, who in list(told.items())[:MOST_TOLD]]
    if (more := len(told) - MOST_TOLD) > 0:
        found.append(f"{more} more warnings are in the result files.")
    if broken:
        count_ = f"{len(broken)} result file" + ("s" if len(broken) > 1 else "")
        found.append(
            f"{count_} could not be read and {'are' if len(broken) > 1 else 'is'} skipped."
        )
    return found


def _told(runs: Sequence[Run]) -> dict[str, str]:
    """What the runs themselves warn of, such as a refined model that is worse than the pruned: by
    the warning, the run or the number of runs that have it."""
    said: dict[str, list[str]] = {}
    for run in runs:
        if isinstance(lines := run.result.get("warnings"), list):
            for line in dict.fromkeys(str(line).rstrip(".") for line in lines):
                said.setdefault(line, []).append(run.path.parent.name)
    return {line: who[0] if len(who) == 1 else _runs(len(who)) for line, who in said.items()}


def commands(runs: Sequence[Run]) -> list[str]:
    """Commands that reproduce the results: sweeps that have a file, then every run."""
    sweeps = sorted({str(run.options.get("sweep")) for run in runs})
    whole = [s for s in sweeps if s and (beside_or_inside("sweeps") / f"{s}.yaml").is_file()]
    single = [str(run.result["command"]) for run in runs if run.result.get("command")]
    return [f"python -m dsnot_exp -m +sweeps={s}" for s in whole] + list(dict.fromkeys(single))


def _fact(run: Run, key: str) -> object:
    return run.result.get("schema") if key == "schema" else run.result["environment"].get(key)


def _count(runs: Sequence[Run], key: str) -> Counter[str]:
    return Counter(str(_fact(run, key) or "unknown") for run in runs)


def _brief(value: str) -> str:
    """A short commit hash, with any suffix such as -dirty."""
    commit, *changed = value.split("-")
    whole = len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    return "-".join([commit[:12], *changed]) if whole else value


def _runs(count: int) -> str:
    return f"{count} run" + ("s" if count != 1 else "")
