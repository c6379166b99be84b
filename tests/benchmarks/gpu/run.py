"""Measures one subject after the other. Keeps what an earlier call measured, and leaves out what
there is no time for."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from datetime import datetime

import torch

from dsnot_exp.run.clock import Clock
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RunError, first_line
from tests.benchmarks.gpu.bench import Bench, OutOfTime, Refused, Row, Subject
from tests.benchmarks.gpu.card import rates
from tests.benchmarks.gpu.record import Record

SHARE = 0.7  # of the time, for which the number of calibration sequences is chosen
CARD = "card"  # the group that comes first and yields the rates


class DeviceLost(Exception):
    """After an error on the device, this process can use it no more. args: the subject, why"""


def measure_all(bench: Bench, record: Record, subjects: Sequence[Subject]) -> None:
    """Measure what the record has not, in order. Raises DeviceLost."""
    todo = [subject for subject in subjects if not record.has(subject.name)]
    if (stuck := record.found["running"]) is not None:  # the process was killed: it comes last
        todo.sort(key=lambda subject: subject.name == stuck)
    for place, subject in enumerate(todo):
        bench.rates = rates(record.rows, bench.dtype)
        if subject.group != CARD:
            settle_sequences(bench, record, todo[place:])
        bench.reserved = sum(bench.forecast(one.work(bench)) for one in todo[place + 1 :])
        forecast = bench.forecast(subject.work(bench))
        if forecast > bench.left:
            left = max(0, bench.left)
            skip(record, subject, f"takes about {forecast:.0f} s, and {left:.0f} s are left")
        else:
            measure(bench, record, subject, forecast)
    record.write()


def settle_sequences(bench: Bench, record: Record, todo: Sequence[Subject]) -> None:
    """The most sequences for which one pass of all that is essential fits, once for a record."""
    chosen = record.found["sequences"]
    for count in bench.sizes.sequences:
        if chosen is None:
            bench.sequences = count
            total = sum(bench.forecast(one.work(bench)) for one in todo if one.essential)
            if total <= SHARE * bench.left or count == bench.sizes.sequences[-1]:
                chosen = record.found["sequences"] = count
                say(f"{count} sequences of {bench.tokens} tokens: about {total:.0f} s at least")
    bench.sequences = chosen


def measure(bench: Bench, record: Record, subject: Subject, forecast: float) -> None:
    say(f"{subject.name}: about {forecast:.0f} s; {bench.left:.0f} s are left")
    record.begin(subject.name)
    clock = Clock(bench.device)
    try:
        rows = subject.run(bench)
        accelerator.wait(bench.device)
    except OutOfTime as error:
        skip(record, subject, str(error))
    except Exception as error:  # whatever a driver, a compiler or a library raises
        kind = "refused" if isinstance(error, Refused) else "failed"
        record.without_figure(kind, subject.name, reason(error))
        say(f"{subject.name}: {kind}: {reason(error)}")
    else:
        seconds = time.perf_counter() - clock.start
        record.measured(subject.name, result(clock, rows, seconds, forecast))
        say(f"{subject.name}: {seconds:.1f} s")
    record.found["seconds"] += time.perf_counter() - clock.start
    record.write()
    free(bench, subject)


def result(clock: Clock, rows: list[Row], seconds: float, forecast: float) -> Row:
    """Peaks are those of the passes, where a row has its own; else of the whole subject."""
    memory = clock.memory()
    for kind in memory:
        memory[kind] = max([row[kind] for row in rows if kind in row] or [memory[kind]])
    return {
        "rows": rows,
        **memory,
        "took_seconds": seconds,
        "forecast_seconds": forecast,
        "measured_at": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def skip(record: Record, subject: Subject, why: str) -> None:
    record.without_figure("skipped", subject.name, why)
    record.write()
    say(f"{subject.name}: skipped: {why}")


def reason(error: Exception) -> str:
    """One line."""
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory ({first_line(error)})"
    if isinstance(error, Refused | RunError):
        return first_line(error)
    return f"{type(error).__name__}: {first_line(error)}"


def free(bench: Bench, subject: Subject) -> None:
    """Return the subject's memory. Raises DeviceLost."""
    if bench.on_accelerator:  # tensors may be in cycles, such as those of an error's frames
        gc.collect()
    try:
        accelerator.release_memory()
        torch.ones(1, device=bench.device).add_(1)
        accelerator.wait(bench.device)
    except RuntimeError as error:
        raise DeviceLost(subject.name, first_line(error)) from error


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
