"""The sparse models that runs with the same `out` share, in `sparse/` below it.

A sparse model has an identity of its own: the options that make it (`sparse_hash`), the content of
the dense model, the code and the number of processes. What is measured of it, and what is trained
on top of it, are no part of it. So a run with another task takes the model from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnot_exp.data.known_tokens import KnownTokens
from dsnot_exp.models.source import Source
from dsnot_exp.run.content import code_fingerprint, model_fingerprint
from dsnot_exp.run.fingerprint import sparse_hash
from dsnot_exp.run.lock import lock_file
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.keeper import SparseKeeper, recover
from dsnot_exp.walk.kept import KeptSparse

FOLDER = "sparse"
OPTIONS, REST = 16, 8  # digits of the two hashes in a folder's name
OTHERS = {  # part of the key -> what another value of it means
    "model": "another content of the model",
    "code": "another version of dsnot_exp, torch or transformers",
    "processes": "another number of processes",
}


@dataclass(frozen=True)
class SparseStore:
    """The place of one sparse model.

    key: what it depends on
    keeps: `masks`, `weights` or `none`: neither write nor use any
    fresh: do not use what is there
    """

    folder: Path
    key: dict[str, Any]
    keeps: str
    fresh: bool
    ranks: Ranks

    @classmethod
    def of(cls, plan: Plan, source: Source) -> SparseStore:
        """plan: with its sequence lengths settled"""
        config, options = plan.config, sparse_hash(plan)
        key: dict[str, Any] = {"options": options, "model": model_fingerprint(source)}
        key |= {"code": code_fingerprint(), "processes": plan.ranks.size}
        rest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        folder = Path(config.out) / FOLDER / f"{options[:OPTIONS]}-{rest[:REST]}"
        return cls(folder, key, config.keep, config.rerun, plan.ranks)

    def find(self, on_note: Callable[[str], None] = lambda note: None) -> KeptSparse | None:
        """The sparse model, if it is kept, intact, and the dense model can be turned into it.
        on_note: receives why not, where something is there"""
        wanted = self.ranks.first and not self.fresh and self.keeps != "none"
        return self.ranks.of_first(self._find(on_note) if wanted else None)

    def _find(self, on_note: Callable[[str], None]) -> KeptSparse | None:
        recover(self.folder)
        try:
            kept = KeptSparse.read(self.folder)
            kept.check()
        except FileNotFoundError as error:
            why = str(error) if self.folder.exists() else self._made_by_others()
        except OSError as error:
            why = str(error)
        else:
            if kept.restores and kept.key == self.key:
                return kept
            why = (
                f"{self.folder} has the masks alone, and a method moved the weights; keep=weights "
                "keeps them too"
            )
        if why is not None:
            on_note(f"pruning again: {why}")
        return None

    def _made_by_others(self) -> str | None:
        """Why sparse models with the same options are not this one."""
        for folder in sorted(self.folder.parent.glob(f"{self.folder.name[:OPTIONS]}-*")):
            try:
                other = KeptSparse.read(folder).key
            except OSError:
                continue
            different = [what for part, what in OTHERS.items() if other[part] != self.key[part]]
            if different and other["options"] == self.key["options"]:
                return f"{folder} was made with {' and '.join(different)}"
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process after the other: the second one finds what the first one has kept."""
        path = self.folder.parent / f".{self.folder.name}.lock"
        busy = (
            f"another process is making the same sparse model ({self.folder}): waiting for it "
            "(Ctrl-C to stop)"
        )
        with self.ranks.if_first(lock_file(path, True, busy), True):
            yield

    def keeper(self) -> SparseKeeper | None:
        """None where nothing is kept, or another process keeps it."""
        if self.keeps == "none" or not self.ranks.first:
            return None
        return SparseKeeper(self.folder, self.key, say)


def tokens_of(kept: KeptSparse) -> KnownTokens | None:
    """The calibration tokens of the run that made it; None if it needed none."""
    found = kept.known["data"]
    return None if found is None else KnownTokens(found["record"], tuple(found["warnings"]))
