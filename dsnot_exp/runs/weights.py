"""What a run's weights take on disk, and on request its time per token beside the dense model's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dsnot_exp.results.file import MODEL
from dsnot_exp.results.sizes import sizes
from dsnot_exp.runs.find import Found
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.words import size


def measured(found: Found) -> dict[str, Any]:
    """Seconds per token, dense and sparse, and how that was measured. It loads torch and both
    models."""
    if found.run is None:
        raise RequestError(f"--measure: {found.folder} has no result, and no model to measure")
    from dsnot_exp.run.speed import measure_speed
    from dsnot_exp.utils.quiet import quiet_command

    with quiet_command():
        speed, how = measure_speed(found.folder, found.run.result)
    return asdict(speed) | {"same": speed.same, "how": how}


def weight_lines(found: Found, speed: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """(key, text) for `show`; nothing for a run that has neither."""
    there = sizes(found.folder)
    dense = there.get(MODEL) or there.get("export/plain")
    for name, count in there.items():
        if name in (MODEL, "export/plain"):
            yield "on disk", f"{name} {size(count)}, as much as the dense model"
        else:
            share = f", {count / dense:.3f} of the dense model" if dense else ""
            yield "on disk", f"{name} {size(count)}{share}"
    if speed is not None:
        yield from _speed_lines(speed)


def _speed_lines(speed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    dense, sparse = 1e3 * speed["dense"], 1e3 * speed["sparse"]
    low, high = speed["spread"]
    yield (
        "per token",
        (
            f"dense {dense:.3g} ms, sparse {sparse:.3g} ms; sparse / dense {speed['ratio']:.3f} "
            f"({low:.3f} to {high:.3f})"
        ),
    )
    yield "measured", speed["how"]
    if speed["same"]:
        yield "", "The same within the noise: transformers multiplies by the zeros too."
