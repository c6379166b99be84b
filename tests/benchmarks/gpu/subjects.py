"""All subjects, in the order of their importance: the time may not do for all."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.gpu import card, exact, layers
from tests.benchmarks.gpu.bench import Bench, Subject
from tests.benchmarks.gpu.disk import DISK
from tests.benchmarks.gpu.homes import Home, on_the_fly, streamed, whole
from tests.benchmarks.gpu.passes import FLOOR, on_method
from tests.benchmarks.gpu.totals import allocation, released

# The presets of docs/frontier.md: `dsnot` is wanda+dsnot, `fast` is wanda+moments, and `best` is
# alps+target+block after allocate=fisher.
FIRST = (FLOOR, "wanda+dsnot", "sparsegpt")
PRESETS = ("wanda+moments", "alps+target+block")
OTHERS = ("wanda", "alps+target", "alps+target+cg", "sparsegpt+dsnot", "wanda+swaps")


def subjects(bench: Bench) -> list[Subject]:
    sizes = bench.sizes
    here = Home("whole", sizes.whole, sizes.layers, whole)
    there = Home("streamed", sizes.whole, sizes.layers, streamed)
    large = Home("made", sizes.large, sizes.large_layers, on_the_fly)
    refined, multiplied = layers.subjects(bench)
    essential = [
        *card.SUBJECTS,
        *exact.SUBJECTS,
        *(on_method(here, method) for method in FIRST),
        *refined,
        *([released(here)] if bench.authors else []),
        *(on_method(large, method) for method in FIRST[:2]),
        *(on_method(here, method) for method in PRESETS),
        allocation(here),
    ]
    others = [
        DISK,
        *(on_method(there, method) for method in FIRST[:2]),
        *multiplied,
        *(on_method(here, method) for method in OTHERS),
        on_method(here, "wanda+dsnot", "false"),
        on_method(large, FIRST[2]),
        on_method(there, FIRST[2]),
    ]
    return [*(replace(subject, essential=True) for subject in essential), *others]
