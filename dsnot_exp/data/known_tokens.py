"""What is known of tokens that an earlier run has drawn, where they are not needed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HELD_OUT = ("held_out", "held_out_sha256")


@dataclass(frozen=True)
class KnownTokens:
    """entry: as in result.json; warnings: as those of Tokens"""

    entry: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        return self.entry

    def without_held_out(self) -> KnownTokens:
        entry = {key: value for key, value in self.entry.items() if key not in HELD_OUT}
        return KnownTokens(entry, self.warnings)
