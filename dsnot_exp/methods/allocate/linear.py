"""ATP (Huang et al., ICML 2025, arXiv 2502.14770): the sparsity rises linearly with depth.

The reconstruction errors of early blocks add up in all later ones, so early blocks are pruned less:
the sparsities of the blocks are an arithmetic progression around the model's. Its one number, the
slope, is chosen from a grid between 0 and the steepest that keeps all sparsities within bounds. The
paper compares perplexities; here it is the distance of the predictions to the dense model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsnot_exp.methods.allocate.budget import exact
from dsnot_exp.methods.allocate.options import LinearOptions
from dsnot_exp.methods.allocation import Distance, Memory, Site
from dsnot_exp.methods.patterns import Pattern


@dataclass(frozen=True)
class Linear(LinearOptions):
    @property
    def steps(self) -> int:
        return self.slopes

    def search(
        self,
        sites: Mapping[str, Site],
        pattern: Pattern,
        distance: Distance,
        memory: Memory,
        seed: int,
    ) -> dict[str, Pattern]:
        steepest = 2 * min(pattern.sparsity, self.most - pattern.sparsity)
        rises = [steepest * i / (self.slopes - 1) for i in range(self.slopes)]
        tried: list[float] = memory.recall() or []
        for rise in rises[len(tried) :]:
            tried.append(distance(self.rising(sites, pattern.sparsity, rise)))
            memory.keep(tried)
        best = min(range(len(rises)), key=lambda i: tried[i])
        return self.rising(sites, pattern.sparsity, rises[best])

    def rising(self, sites: Mapping[str, Site], sparsity: float, rise: float) -> dict[str, Pattern]:
        """The allocation whose last block is sparser than the first by `rise`."""
        depth = {block: i for i, block in enumerate(dict.fromkeys(s.block for s in sites.values()))}
        last = max(1, len(depth) - 1)
        wished = {
            layer: sparsity + rise * (depth[site.block] / last - 0.5)
            for layer, site in sites.items()
        }
        return exact(wished, sites, sparsity, self.most)
