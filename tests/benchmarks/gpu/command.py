"""The command: from its options to a bench, its subjects and the record."""

from __future__ import annotations

import argparse
import faulthandler
import os
import shutil
import sys
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import psutil
import torch

from dsnot_exp.run.device import device_of
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.command_line import run_and_exit
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.quiet import quiet_command
from tests.benchmarks.gpu import machine
from tests.benchmarks.gpu.bench import Bench, Subject
from tests.benchmarks.gpu.options import parser
from tests.benchmarks.gpu.record import JSON, PAGE, Record
from tests.benchmarks.gpu.run import DeviceLost, measure_all, say
from tests.benchmarks.gpu.sizes import FULL, TINY, Sizes
from tests.benchmarks.gpu.subjects import subjects

SHARE = 0.95  # of the minutes; at their end a subject that hangs is ended with the process


def run(options: argparse.Namespace) -> None:
    run_and_exit(lambda: measured(options))


def measured(options: argparse.Namespace) -> int:
    """The exit code: 1 if a subject has failed."""
    sizes, device = sizes_of(options), device_to_measure(options)
    if options.tiny:
        torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
    begin = psutil.Process().create_time() - time.time()  # the libraries took time to be imported
    end = time.perf_counter() + begin + 60 * options.minutes
    folder = Path(options.out)
    scratch = Path(options.scratch or folder) / "scratch"
    bench = Bench(
        device,
        sizes,
        scratch,
        deadline=end - (1 - SHARE) * 60 * options.minutes,
        dtype=options.dtype,
        sparsity=options.sparsity,
        max_cycles=options.max_cycles,
        authors=options.authors,
    )
    every = subjects(bench)
    chosen = wanted(every, options)
    if options.list:
        print("\n".join(subject.name for subject in chosen))
        return 0
    about = {**description(bench, options), "subjects": [subject.name for subject in every]}
    record = Record.open(folder, about, options.again)
    scratch.mkdir(parents=True, exist_ok=True)
    seconds = max(1, end - time.perf_counter())
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        with quiet_command():
            measure_all(bench, record, chosen)
    except DeviceLost as lost:
        begin_anew(*lost.args)
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(scratch, ignore_errors=True)
    return told(record)


def description(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """What a record begins with: all that the figures depend on."""
    kept = ("tiny", "dtype", "sequences", "sparsity", "max_cycles")
    return {
        "options": {key: getattr(options, key) for key in kept} | {"layers": bench.sizes.layers},
        "machine": machine.machine(bench.device),
        "versions": machine.versions(),
        "command": typed(options),
        "packages_missing": machine.missing(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "used_by_others_bytes": machine.used_by_others(bench.device),
        "code": machine.code(),
    }


def typed(options: argparse.Namespace) -> str:
    """The command line, without what has no effect on a figure, and without paths."""
    words, usual = ["python -m tests.benchmarks.gpu"], vars(parser().parse_args([]))
    words += ["--tiny"] if options.tiny else []
    for key in ("device", "sequences", "layers", "dtype", "sparsity", "max_cycles"):
        if (value := getattr(options, key)) != usual[key]:
            words.append(f"--{key.replace('_', '-')} {value}")
    return " ".join([*words, *(["--authors DSnoT"] if options.authors else [])])


def begin_anew(subject: str, why: str) -> None:
    """The device answers no more in this process: a new one takes its place, with what is left of
    the time, and leaves the subject out."""
    say(f"{subject}: the device was lost ({why}); the others are measured in a new process")
    words = [word for word in sys.argv[1:] if word != "--again"]
    command = ["-m", "tests.benchmarks.gpu", *words, f"--leave={subject}"]
    os.execv(sys.executable, [sys.executable, *command])


def told(record: Record) -> int:
    """The last lines on the terminal."""
    found = record.found
    if found["skipped"]:
        say(f"skipped: {', '.join(found['skipped'])}; the same command measures them")
    for name, why in found["failed"].items():
        say(f"no figure: {name}: {why}")
    say(f"{record.folder / JSON}, {record.folder / PAGE}")
    return 1 if found["failed"] else 0


def sizes_of(options: argparse.Namespace) -> Sizes:
    sizes = TINY if options.tiny else FULL
    if options.layers is not None:
        if options.layers < 3:
            raise RequestError(f"--layers {options.layers}: 3 or more; first and last do not count")
        sizes = replace(sizes, layers=options.layers)
    if options.sequences is not None:
        if options.sequences < 1:
            raise RequestError(f"--sequences {options.sequences}: 1 or more")
        sizes = replace(sizes, sequences=(options.sequences,))
    return sizes


def device_to_measure(options: argparse.Namespace) -> torch.device:
    found = device_of(options.device)
    if options.device == "auto" and not options.tiny and not accelerator.is_accelerator(found):
        raise RequestError(
            "--device auto: this machine has no accelerator that torch can use; --tiny is a dry run"
        )
    return found


def wanted(every: list[Subject], options: argparse.Namespace) -> list[Subject]:
    only = options.only or ["*"]
    found = [one for one in every if matches(one, only) and not matches(one, options.leave)]
    if not found:
        raise RequestError(f"--only {' '.join(only)}: no such subject; --list prints them")
    return found


def matches(subject: Subject, globs: list[str]) -> bool:
    return any(fnmatchcase(subject.name, glob) for glob in globs)
