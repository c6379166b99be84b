"""What runs with the same `out` share: measurements and allocations, by what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsnot_exp.evaluate.store import Store
from dsnot_exp.models.source import Source
from dsnot_exp.run.content import code_fingerprint, model_fingerprint
from dsnot_exp.run.plan import Plan


def shared_store(name: str, plan: Plan, source: Source, **more: Any) -> Store:
    """The store `name` below `out`. more: what its values depend on besides the model's content and
    the code"""
    common = {"model": model_fingerprint(source), "code": code_fingerprint(), **more}
    return Store(Path(plan.config.out) / name, common, plan.config.rerun, plan.ranks)
