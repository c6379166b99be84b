"""OWL (Yin et al., ICML 2024, arXiv 2310.05175): blocks with more outliers are pruned less.

The score of a weight is Wanda's, |W| * ||A||. D is the share of a block's scores that are larger
than M times their mean. The densities are a linear map of D onto an interval of width 2 lambda,
moved to the model's total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.allocate.budget import exact, groups
from dsnot_exp.methods.allocate.options import OWLOptions
from dsnot_exp.methods.allocation import Seen, Site
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Statistic


@dataclass(frozen=True)
class OWL(OWLOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.NORM})
    gradients: ClassVar[int] = 0

    def survey(self, layers: Mapping[str, Seen]) -> dict[str, list[float]]:
        """By layer: how many of its scores are outliers, and how many it has. `by` says whether
        their mean is that of the layer or of all `layers` of its block."""
        sums = {name: float(scores(seen).sum(dtype=torch.float64)) for name, seen in layers.items()}
        sizes = {name: seen.weight.numel() for name, seen in layers.items()}
        of_all = sum(sums.values()) / max(1, sum(sizes.values()))
        found = {}
        for name, seen in layers.items():
            mean = of_all if self.by == "block" else sums[name] / sizes[name]
            outliers = int((scores(seen) > self.outlier * mean).sum())
            found[name] = [float(outliers), float(sizes[name])]
        return found

    def allocate(
        self, surveyed: Mapping[str, list[float]], sites: Mapping[str, Site], pattern: Pattern
    ) -> dict[str, Pattern]:
        group = groups(surveyed, sites, self.by)
        outliers, sizes = dict.fromkeys(group.values(), 0.0), dict.fromkeys(group.values(), 0.0)
        for layer, (count, size) in surveyed.items():
            outliers[group[layer]] += count
            sizes[group[layer]] += size
        ratios = {name: outliers[name] / sizes[name] for name in sizes}
        least, largest = min(ratios.values(), default=0), max(ratios.values(), default=0)
        wide = 2 * self.spread / (largest - least) if largest > least else 0.0
        wished = {layer: -wide * ratios[group[layer]] for layer in surveyed}
        return exact(wished, sites, pattern.sparsity, self.most)


def scores(seen: Seen) -> Tensor:
    """|W| * ||A||, (out, in) float32."""
    assert seen.statistics is not None
    return seen.weight.float().abs() * seen.statistics.norm
