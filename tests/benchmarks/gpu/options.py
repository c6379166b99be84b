"""The command's options. Needs no library that may be missing."""

from __future__ import annotations

import argparse


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.gpu",
        description="Measures all that is open about GPUs, on the accelerator of this machine.",
    )
    add = found.add_argument
    add("--tiny", action="store_true", help="tiny shapes: a dry run, also without an accelerator")
    add("--minutes", type=float, default=10, help="that the process may take (10)")
    add("--out", default="outputs/benchmarks/gpu", help="a folder for gpu.json and gpu.md")
    add("--again", action="store_true", help="forget what the folder has")
    add("--device", default="auto", help="auto: the accelerator; or cuda:1, xpu, cpu")
    add("--authors", help="a checkout of github zyxxmu/DSnoT, to measure it too")
    add("--only", action="append", help="these subjects, as a glob: 'whole/*'; may be repeated")
    add("--leave", action="append", default=[], help="leave these subjects out; may be repeated")
    add("--list", action="store_true", help="print the subjects in their order, and stop")
    add("--sequences", type=int, help="of calibration; by default 128, fewer on a slow card")
    add("--layers", type=int, help="blocks of the 7B shape that are measured (4)")
    add("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    add("--sparsity", type=float, default=0.6)
    add("--max-cycles", type=int, default=50, help="of DSnoT")
    add("--scratch", help="a folder on the disk to read a checkpoint from (the one of --out)")
    return found
