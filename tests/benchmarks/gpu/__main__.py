"""Measures all that is open about GPUs, on the accelerator of this machine:

    python -m tests.benchmarks.gpu                    within 10 minutes, on a card of 24 GB or more
    python -m tests.benchmarks.gpu --authors DSnoT    the released code beside ours
    python -m tests.benchmarks.gpu --tiny             a dry run on tiny shapes, also without a card

After each subject it writes gpu.json, with every repeat, and gpu.md, with the tables for
docs/performance.md. Subjects come in the order of their importance. One for which there is no time
left is skipped; the same command measures what is missing and keeps the rest.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from tests.benchmarks.gpu.options import parser

NEEDED = (
    "torch", "transformers", "accelerate", "safetensors", "hydra", "omegaconf", "platformdirs",
    "psutil", "xxhash",
)  # fmt: skip


def main() -> None:
    options = parser().parse_args()
    if absent := [name for name in NEEDED if find_spec(name) is None]:
        print(f"dsnot_exp: not installed: {', '.join(absent)}; pip install -e .", file=sys.stderr)
        sys.exit(2)
    from tests.benchmarks.gpu.command import run

    run(options)


if __name__ == "__main__":
    main()
