"""Reads the options `pattern` and `sparsity`; needs no torch, unlike the patterns themselves."""

from __future__ import annotations

import re

from dsnot_exp.utils.errors import RequestError

UNSTRUCTURED = "unstructured"
AMOUNT = "a fraction in [0, 1), such as 0.6, or N:M, such as 2:4"  # what `sparsity` accepts
N_OF_M = re.compile(r"(\d+):(\d+)")


def read_pattern(pattern: str, sparsity: float | str | None) -> tuple[int, int] | float:
    """(N, M) of an N:M pattern, else the fraction of the weights that is pruned. `sparsity=2:4`
    means `pattern=2:4`, so that one sweep can hold both kinds."""
    if isinstance(sparsity, str):
        if N_OF_M.fullmatch(sparsity) and pattern in (UNSTRUCTURED, sparsity):
            return _read_n_of_m("sparsity", sparsity)
        sparsity = _fraction(sparsity, pattern)
    if sparsity is not None and not 0 <= sparsity < 1:
        raise RequestError(f"sparsity={sparsity}: expected {AMOUNT}")
    if pattern == UNSTRUCTURED:
        return 0.5 if sparsity is None else sparsity
    n, m = _read_n_of_m("pattern", pattern)
    implied = pruned_share(n, m)
    if sparsity is not None and abs(sparsity - implied) > 1e-9:
        raise RequestError(
            f"sparsity={sparsity}: pattern={pattern} implies {implied:g}; "
            "leave sparsity out, or choose pattern=unstructured"
        )
    return n, m


def _read_n_of_m(key: str, text: str) -> tuple[int, int]:
    match = N_OF_M.fullmatch(text)
    if match is None:
        raise RequestError(f"{key}={text}: expected 'unstructured' or N:M, such as 2:4")
    n, m = int(match[1]), int(match[2])
    if not 0 < n < m:
        raise RequestError(
            f"{key}={text}: N:M keeps N of every M weights, so 0 < N < M, such as 2:4"
        )
    return n, m


def _fraction(text: str, pattern: str) -> float:
    if N_OF_M.fullmatch(text):
        raise RequestError(
            f"sparsity={text}: differs from pattern={pattern}; leave one of them out"
        )
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"sparsity={text}: expected {AMOUNT}") from None


def pruned_share(n: int, m: int) -> float:
    """The sparsity of a pattern that keeps `n` of every `m` weights."""
    return 1 - n / m
