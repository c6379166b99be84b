"""AlphaPruning (Lu et al., NeurIPS 2024, arXiv 2410.10912): blocks whose weights have a heavier
tail of eigenvalues have learnt more, and are pruned less. No calibration.

Of a matrix W the eigenvalues of W^T W are taken, lambda_1 <= ... <= lambda_n. The Hill estimator of
the exponent of their tail is

    alpha = 1 + k / sum over the k largest of ln(lambda_i / lambda_min)

where lambda_min is the peak of the distribution of ln(lambda) (the "fix-finger" method). A block's
alpha is the mean over its matrices. The sparsities are a linear map of alpha onto [1 - epsilon, 1 +
epsilon], times the one factor that makes their total the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.allocate.budget import exact, mean_by_group
from dsnot_exp.methods.allocate.options import AlphaOptions
from dsnot_exp.methods.allocation import Seen, Site
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Needs

BINS = 100  # of the histogram of the logarithms
ALIKE = 1e-5  # the span of logarithms that differ by rounding alone


@dataclass(frozen=True)
class Alpha(AlphaOptions):
    needs: ClassVar[Needs] = frozenset()
    gradients: ClassVar[int] = 0

    def survey(self, layers: Mapping[str, Seen]) -> dict[str, list[float]]:
        """Each layer's alpha. A layer of equal or no eigenvalues has no tail and is left out."""
        found = {name: hill(seen.weight) for name, seen in layers.items()}
        return {name: [alpha] for name, alpha in found.items() if math.isfinite(alpha)}

    def allocate(
        self, surveyed: Mapping[str, list[float]], sites: Mapping[str, Site], pattern: Pattern
    ) -> dict[str, Pattern]:
        alphas = mean_by_group({layer: a for layer, (a,) in surveyed.items()}, sites, self.by)
        least, largest = min(alphas.values(), default=0), max(alphas.values(), default=0)
        wide = largest - least or 1.0
        mapped = {
            layer: 1 - self.epsilon + 2 * self.epsilon * (alpha - least) / wide
            for layer, alpha in alphas.items()
        }
        weights = sum(sites[layer].weights for layer in mapped)
        mean = sum(mapped[layer] * sites[layer].weights for layer in mapped) / max(1, weights)
        wished = {layer: pattern.sparsity * s / (mean or 1.0) for layer, s in mapped.items()}
        return exact(wished, sites, pattern.sparsity, self.most)


def hill(weight: Tensor) -> float:
    """alpha of `weight: (out, in)`; infinite if it has no tail."""
    values = torch.linalg.svdvals(weight.float()).double()
    logarithms = 2 * values[values > values.max() * torch.finfo(torch.float32).eps].log()
    logarithms = logarithms.cpu()  # of the eigenvalues that are not 0
    if len(logarithms) < 2 or float(logarithms.max() - logarithms.min()) < ALIKE:
        return math.inf
    counts, edges = torch.histogram(logarithms, BINS)
    above = logarithms - edges[counts.argmax()]
    tail = above[above > 0]
    total = float(tail.sum())
    return 1 + len(tail) / total if total > 0 else math.inf
