"""The sparse models that a run goes through, and which of them earlier runs have kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dsnot_exp.data.known_tokens import KnownTokens
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.models.source import Source
from dsnot_exp.run.disk import kept_bytes
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.sparse_store import SparseStore, tokens_of
from dsnot_exp.utils.console import say
from dsnot_exp.walk.kept import KeptSparse

HASHES = ("tokens_sha256", "held_out_sha256")


@dataclass(frozen=True)
class SparseModels:
    """stores: by stage, `pruned` and `refined`, where the model is kept
    found: those that an earlier run has kept
    tokens: the calibration tokens of that run
    """

    stores: dict[str, SparseStore] = field(default_factory=dict)
    found: dict[str, KeptSparse] = field(default_factory=dict)
    tokens: KnownTokens | None = None

    @classmethod
    def of(cls, plan: Plan, source: Source) -> SparseModels:
        """Look for the sparse models of a plan whose sequence lengths are settled."""
        if plan.recipe is None:
            return cls()
        stores = {"refined": SparseStore.of(plan, source)}
        if plan.evaluates_pruned and plan.recipe != plan.recipe.initializer_only():
            stores["pruned"] = SparseStore.of(plan.initializer_only(), source)
        looked = {stage: store.find(say) for stage, store in stores.items()}
        found = {stage: kept for stage, kept in looked.items() if kept is not None}
        tokens = tokens_of(found["refined"]) if "refined" in found else None
        return cls(stores, found, tokens)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to prune."""
        return bool(self.stores) and self.found.keys() == self.stores.keys()

    def bytes_to_keep(self, weights: int, itemsize: int) -> int:
        """At most so many bytes are written, for so many prunable weights."""
        missing = self.stores.keys() - self.found.keys()
        return sum(kept_bytes(self.stores[stage].keeps, weights, itemsize) for stage in missing)

    def find(self, stage: str, drawn: Tokens | None) -> KeptSparse | None:
        """The sparse model of a stage, another process may have kept it meanwhile.

        drawn: the calibration tokens; a model that was calibrated on others is not used
        """
        kept = self.found.get(stage) or self.stores[stage].find()
        if kept is None or drawn is None or (known := tokens_of(kept)) is None:
            return kept
        own, others = drawn.record(), known.record()
        shared = [key for key in HASHES if key in others]
        if all(own.get(key) == others[key] for key in shared):
            return kept
        say(f"pruning again: {kept.folder} was calibrated on another content of {drawn.dataset}")
        return None

    def without_held_out(self) -> SparseModels:
        known = self.tokens
        return replace(self, tokens=None if known is None else known.without_held_out())


NO_MODELS = SparseModels()
