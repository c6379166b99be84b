"""What `allocate=auto` means for a given sparsity. Needs no torch."""

from __future__ import annotations

from typing import Any

from dsnot_exp.run.build_method import check

AUTO = "auto"
FISHER = "fisher"
UNIFORM = {"name": "uniform"}


def settle_allocator(options: dict[str, Any], amount: float | tuple[int, int]) -> dict[str, Any]:
    """`fisher` for `auto`, or `uniform` where it cannot be; any other allocator stays.

    amount: the model's sparsity, or N and M
    """
    if options["name"] != AUTO:
        return options
    fisher = {**options, "name": FISHER}
    most = check("allocate", fisher).most  # its options are checked in any case
    return fisher if not isinstance(amount, tuple) and 0 < amount <= most else UNIFORM
