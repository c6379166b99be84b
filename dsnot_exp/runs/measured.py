"""What a metric was measured on: two values compare only if it is the same."""

from __future__ import annotations

from typing import Any

STAGES = ("refined", "dense", "pruned")


def measured_on(result: dict[str, Any], kind: str, name: str) -> tuple[str, str]:
    """In words, such as `64 x 256 tokens` or `20 items, 0-shot`, and a text that is the same for
    the same measurement; both empty if the result does not say.

    kind: perplexity (`name`: of a text), zero_shot (of a task), reconstruction (no name)
    """
    if kind == "zero_shot":
        stages = result["metrics"]["zero_shot"].get(name) or {}
        found = next((s for s in map(stages.get, STAGES) if s and s.get("items")), None)
        if found is None:
            return "", ""
        words = f"{found['items']} items, {found.get('num_fewshot')}-shot"
        keys = ("items", "num_fewshot", "version", "bos")
        return words, " ".join(str(found.get(key)) for key in keys)
    data = result.get("data") or {}
    evaluation = data.get("evaluation") or {}
    found = data.get("calibration") if kind == "reconstruction" else evaluation.get(name)
    if not isinstance(found, dict):
        return "", ""
    words = f"{found.get('sequences')} x {found.get('seqlen')} tokens"
    blocks = (result["config"].get("eval") or {}).get("blocks") if kind == "perplexity" else None
    return words, f"{words} {found.get('tokens_sha256')} {blocks}"


def unlike(one: dict[str, Any], other: dict[str, Any], kind: str, name: str) -> str:
    """Why two results do not compare, such as `50 items, 0-shot / 20 items, 0-shot`; else empty."""
    (words, key), (others, key2) = measured_on(one, kind, name), measured_on(other, kind, name)
    if not key or not key2 or key == key2:
        return ""
    return f"{words} / {others}" if words != others else "other tokens" if name else "other inputs"


def mixed(results: list[dict[str, Any]]) -> list[str]:
    """A line for each text and task that not all results have measured on the same."""
    lines = []
    for kind in ("perplexity", "zero_shot"):
        names = dict.fromkeys(name for result in results for name in result["metrics"][kind])
        for name in names:
            found = {key: words for words, key in (measured_on(r, kind, name) for r in results)}
            found.pop("", None)
            if len(found) > 1:
                told = " or ".join(dict.fromkeys(found.values()))
                lines.append(f"do not compare: {name} was measured on different {_of(told, kind)}")
    return lines


def _of(told: str, kind: str) -> str:
    what = "items" if kind == "zero_shot" else "tokens"
    return f"{what} ({told})" if " or " in told else what
