"""EvoPress (Sieberling et al., ICML 2025, arXiv 2410.14649): an evolutionary search of levels.

An allocation is a whole number of levels per group, a matrix or a block; a level is the same number
of weights for all groups. A mutation raises one group by a level and lowers another, so the total
stays. Every generation has a few mutated copies of the parent. All are compared on a quarter of the
sequences, and the best two with the parent on all; the best becomes the next parent, which starts
as the uniform allocation.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from dsnot_exp.methods.allocate.budget import exact, groups
from dsnot_exp.methods.allocate.options import SearchOptions
from dsnot_exp.methods.allocation import Distance, Memory, Site
from dsnot_exp.methods.patterns import Pattern

MUTATIONS = 3  # at most, of one offspring
FINALISTS = 2  # offspring that are compared with the parent
Levels = dict[str, int]


@dataclass(frozen=True)
class Search(SearchOptions):
    @property
    def steps(self) -> int:
        return self.generations

    def search(
        self,
        sites: Mapping[str, Site],
        pattern: Pattern,
        distance: Distance,
        memory: Memory,
        seed: int,
    ) -> dict[str, Pattern]:
        space = _Space.of(self, sites, pattern.sparsity)
        few = max(1, self.samples // 4)
        kept = memory.recall()
        if kept is None:
            levels = dict.fromkeys(space.sizes, 0)
            kept = {"levels": levels, "distance": distance(space.patterns(levels)), "done": 0}
        levels, best = dict(kept["levels"]), float(kept["distance"])
        for generation in range(kept["done"], self.generations):
            draw = random.Random(f"{seed} {generation}")
            offspring = [space.mutated(levels, draw) for _ in range(self.offspring)]
            offspring = [child for child in offspring if child != levels]
            roughly = [distance(space.patterns(child), few) for child in offspring]
            ranking = sorted(range(len(offspring)), key=lambda i: roughly[i])
            for child in (offspring[i] for i in ranking[:FINALISTS]):
                found = distance(space.patterns(child))
                if found < best:
                    levels, best = child, found
            memory.keep({"levels": levels, "distance": best, "done": generation + 1})
        return space.patterns(levels)


@dataclass(frozen=True)
class _Space:
    """The allocations that can be reached. sizes: weights by group; unit: weights per level"""

    sites: Mapping[str, Site]
    group: Mapping[str, str]
    sizes: Mapping[str, int]
    sparsity: float
    most: float
    unit: float

    @classmethod
    def of(cls, options: SearchOptions, sites: Mapping[str, Site], sparsity: float) -> _Space:
        group = groups(sites, sites, options.by)
        sizes = dict.fromkeys(group.values(), 0)
        for layer, site in sites.items():
            sizes[group[layer]] += site.weights
        unit = options.level * sum(sizes.values()) / max(1, len(sizes))
        return cls(sites, group, sizes, sparsity, options.most, unit)

    def at(self, name: str, level: int) -> float:
        """The sparsity of a group."""
        return self.sparsity + level * self.unit / self.sizes[name]

    def patterns(self, levels: Levels) -> dict[str, Pattern]:
        wished = {layer: self.at(name, levels[name]) for layer, name in self.group.items()}
        return exact(wished, self.sites, self.sparsity, self.most)

    def mutated(self, levels: Levels, draw: random.Random) -> Levels:
        """A copy after one to three mutations that keep all sparsities within bounds."""
        child, names = dict(levels), list(levels)
        for _ in range(min(draw.randint(1, MUTATIONS), draw.randint(1, MUTATIONS))):
            up, down = draw.choice(names), draw.choice(names)
            fits = self.at(up, child[up] + 1) <= self.most and self.at(down, child[down] - 1) >= 0
            if up != down and fits:
                child[up] += 1
                child[down] -= 1
        return child
