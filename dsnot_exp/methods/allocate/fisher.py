"""Sparsity where it costs the least loss.

A weight's saliency is the optimal brain surgeon's, weighted by how much the loss depends on its
row: with f_r the mean over tokens of the squared gradient of the loss at output r, n and Hn those
of normal_equations.py,

    S_rj = f_r (W_rj n_j)^2 / [Hn^-1]_jj,    E_m(s) = the sum of the smallest s N_m saliencies of m

The sparsities minimise the sum of E_m(s_m) at the model's total, within bounds. E_m is convex, and
its slope at s is N_m times the saliency at quantile s: so one saliency lambda is the threshold for
all matrices. Half of the step from the uniform sparsity to the optimum is taken, because the
optimum believes the saliencies too far from the dense model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dsnot_exp.methods.allocate.budget import bisected, exact, groups
from dsnot_exp.methods.allocate.options import FisherOptions
from dsnot_exp.methods.allocation import Seen, Site
from dsnot_exp.methods.normal_equations import inverse, shared
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Statistic

QUANTILES = np.linspace(0, 1, 201)
SAMPLE = 1 << 22  # saliencies of which the quantiles are taken
Curve = np.ndarray  # (quantiles,): the saliency at each


@dataclass(frozen=True)
class Fisher(FisherOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.NORMALISED})

    @property
    def gradients(self) -> int:
        return self.samples

    def survey(self, layers: Mapping[str, Seen]) -> dict[str, list[float]]:
        """The quantiles of each layer's saliencies."""
        return {
            name: quantiles(self.saliency(seen))
            for name, seen in layers.items()
            if seen.gradient is not None
        }

    def saliency(self, seen: Seen) -> Tensor:
        """(out, in) float32"""
        statistics, gradient = seen.statistics, seen.gradient
        assert statistics is not None
        assert gradient is not None
        problem = shared(statistics, self.damping)
        variance = statistics.once(
            ("diagonal of the inverse", self.damping),
            lambda _: inverse(problem.gram, 0).diagonal().clone(),
        )
        return problem.scaled(seen.weight).square_() / variance * gradient[:, None]

    def allocate(
        self, surveyed: Mapping[str, list[float]], sites: Mapping[str, Site], pattern: Pattern
    ) -> dict[str, Pattern]:
        share, group = pattern.sparsity, groups(surveyed, sites, self.by)
        sizes = dict.fromkeys(group.values(), 0)
        curves = {name: np.zeros(len(QUANTILES)) for name in sizes}
        for layer, curve in surveyed.items():
            sizes[group[layer]] += sites[layer].weights
            curves[group[layer]] += sites[layer].weights * np.array(curve)
        curves = {name: curve / sizes[name] for name, curve in curves.items()}
        low, high = max(0.0, share - self.reach), self.most
        best = cheapest(curves, sizes, share, low, high)
        wished = {layer: share + self.step * (best[group[layer]] - share) for layer in surveyed}
        return exact(wished, sites, share, self.most)


def quantiles(saliency: Tensor) -> list[float]:
    """The saliency at each of QUANTILES. Of a large matrix a sample is looked at: every k-th entry,
    where k shares no factor with the width, so that all columns take part."""
    every = -(-saliency.numel() // SAMPLE)
    while math.gcd(every, saliency.shape[1]) > 1:
        every += 1
    found = saliency.flatten()[::every].sort().values
    places = torch.from_numpy(QUANTILES * (len(found) - 1)).long().to(found.device)
    chosen: list[float] = found[places].tolist()
    return chosen


def cheapest(
    curves: Mapping[str, Curve], sizes: Mapping[str, int], share: float, low: float, high: float
) -> dict[str, float]:
    """The sparsities in [low, high] of least total loss with `share` of all weights zero."""
    largest = max((float(curve[-1]) for curve in curves.values()), default=0)
    if not largest > 0:
        return dict.fromkeys(curves, share)

    def at(logarithm: float) -> dict[str, float]:
        threshold = math.exp(logarithm)
        return {
            name: float(np.clip(np.interp(threshold, curve, QUANTILES), low, high))
            for name, curve in curves.items()
        }

    def zeros(logarithm: float) -> float:
        return sum(s * sizes[name] for name, s in at(logarithm).items())

    top = math.log(largest)
    return at(bisected(zeros, share * sum(sizes.values()), top - 200, top))
