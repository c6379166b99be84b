"""What a sweep says of its needs and its time before its first run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dsnot_exp.config import Config
from dsnot_exp.launch import outlook, sweep, where
from dsnot_exp.launch.jobs import Job, Planned
from dsnot_exp.launch.outlook import Outlook, look_ahead
from dsnot_exp.launch.where import Where
from dsnot_exp.models.at_hand import AtHand
from dsnot_exp.models.source import Source
from dsnot_exp.run import rates
from dsnot_exp.run.foresee import Foreseen, ModelNeeds
from dsnot_exp.run.model_shape import model_key
from dsnot_exp.run.price import Price
from tests.launch.test_estimate import BASE, DENSE, WANDA
from tests.support.command import Command, toy_arguments

BIG = replace(WANDA, model=replace(WANDA.model, name="hub", path="acme/big"))
KEY = model_key(BIG.model)
LARGE = ModelNeeds(6_738_415_616, 13_476_831_232, "float16", calibration=(1.9, 262_144))


def jobs(*configs: Config, device: str = "cpu") -> list[Job]:
    return [
        Job(Path(f"sweep/{number}"), [], f"{number}", config, device)
        for number, config in enumerate(configs)
    ]


def seen(*configs: Config, prices: list[Price] | None = None, **facts: Any) -> Outlook:
    found = Foreseen(
        prices or [Price()] * len(configs),
        [None] * len(configs),
        {KEY: LARGE},
        device="NVIDIA H200",
        **facts,
    )
    here = Where("basic", here=True, apart=False)
    return Outlook(jobs(*configs), here, {KEY: AtHand(Source("acme/big", "c0ffee"))}, found)


def test_the_time_of_runs_that_share_and_what_it_lacks() -> None:
    """Two runs of a model: dense once, pruned once (it is the first run's result)."""
    dense = replace(DENSE, model=BIG.model)
    refined = replace(BASE, model=BIG.model)
    price = Price(walk=300.0, initial=200.0, evaluation=100.0)
    found = seen(dense, BIG, refined, prices=[price] * 3)
    plan = Planned(found.jobs, 3, [])
    left = sweep.outlook(plan, found)
    # dense 100; wanda 300 + 100; refined: 300 + 100
    assert [line for line in left if " time " in line] == [
        "  time      about 15 min on NVIDIA H200, an estimate (one block of acme/big: 1.9 s per "
        "262,144 tokens); not included: reading 40 GB of weights"
    ]
    some = seen(dense, BIG, prices=[price, Price(None, None, 100.0)])
    (time,) = [line for line in sweep.outlook(plan, some) if " time " in line]
    assert "about 100 s for 1 of 2 runs on" in time
    unknown = seen(dense, dense)  # the second finds all that it needs, after who knows how long
    assert [line for line in sweep.outlook(plan, unknown) if " time " in line] == []
    tasks = replace(dense, eval=replace(dense.eval, tasks=["boolq"]))
    assert seen(tasks, prices=[price]).ahead.left_out.endswith("weights, zero-shot tasks")


def test_jobs_side_by_side_take_the_longest_at_least() -> None:
    dense = replace(DENSE, model=BIG.model)
    runs = [replace(dense, eval=replace(dense.eval, blocks=n)) for n in range(4)]
    found = replace(
        seen(*runs, prices=[Price(evaluation=600.0)] * 4),
        where=Where("joblib", here=True, apart=True, at_once=3),
    )
    (time,) = [line for line in sweep.outlook(Planned(found.jobs, 4, []), found) if "time" in line]
    assert "about 13 min on" in time  # 2400 s / 3
    many = replace(found, where=replace(found.where, at_once=8))
    (time,) = [line for line in sweep.outlook(Planned(found.jobs, 4, []), many) if "time" in line]
    assert "about 10 min on" in time


def test_why_there_is_no_time() -> None:
    elsewhere = replace(seen(BIG), where=Where("ray", here=False, apart=True))
    assert elsewhere.no_time() == "no estimate: hydra/launcher=ray runs the jobs elsewhere"
    assert seen(BIG).no_time() is None  # it was measured: the runs are not foreseen
    large = replace(LARGE, calibration=None, absent="a block is too large")
    found = replace(seen(BIG), foreseen=Foreseen([Price()], [None], {KEY: large}))
    assert found.no_time() == "no estimate: a block is too large"
    assert list(sweep.outlook(Planned(found.jobs, 1, []), found))[-1] == (
        "  time      no estimate: a block is too large"
    )


@pytest.mark.parametrize(
    ("launcher", "device", "way"),
    [
        ("basic", "cuda", "foresee"),
        ("joblib", "cpu", "foresee"),
        ("joblib", "cuda", "foresee_apart"),
        ("ray", "cuda", "nothing measured"),
    ],
)
def test_a_launcher_leaves_the_gpu_to_its_jobs(
    launcher: str, device: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def foresee(*_: Any, measures: bool = True, **__: Any) -> Foreseen:
        asked.append("foresee" if measures else "nothing measured")
        return Foreseen([Price()], [None])

    def apart(*_: Any) -> Foreseen:
        asked.append("foresee_apart")
        return Foreseen([Price()], [None])

    monkeypatch.setattr(outlook, "foresee", foresee)
    monkeypatch.setattr(outlook, "foresee_apart", apart)
    monkeypatch.setattr(where, "gpus", lambda: 2)
    options = SimpleNamespace(n_jobs=2)
    choices = {"hydra/launcher": launcher}
    hydra = SimpleNamespace(runtime=SimpleNamespace(choices=choices), launcher=options)
    config: Any = SimpleNamespace(hydra=hydra)
    look_ahead(Planned(jobs(BASE, device=device), 1, []), config)
    assert asked == [way]


def test_a_sweep_measures_before_its_first_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "SHORT_S", 0)
    toy = [*toy_arguments(tmp_path), "-m", "prune=wanda,sparsegpt", "refine=none", "sparsity=0.5"]
    done = command(*toy, "keep=none", run="")
    assert done.code == 0, done.err
    said = [line for line in done.out.splitlines() if " an estimate (one block of " in line]
    assert [line.split()[0] for line in said] == ["time"]
    assert "1 finished run and an estimate of the others" in done.out


def test_an_error_in_the_forecast_costs_no_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(outlook, "look_ahead", fail)
    words = ["-m", *toy_arguments(tmp_path), "prune=magnitude", "refine=none", "sparsity=0.5"]
    done = command(*words, run="")
    assert (done.code, done.err) == (0, "")
    assert "  time      no estimate: ZeroDivisionError: by nothing" in done.out.splitlines()
