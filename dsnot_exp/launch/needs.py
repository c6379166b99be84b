"""Lines on what the runs of a sweep need: their models, and the disk."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from dsnot_exp.config import ModelConfig
from dsnot_exp.launch.costs import parts_of
from dsnot_exp.launch.jobs import Job
from dsnot_exp.models.at_hand import AtHand
from dsnot_exp.run.foresee import Foreseen, ModelNeeds
from dsnot_exp.utils.words import megabytes, quantity, size

WORTH_TELLING = 10**9  # bytes of disk


def needs_of_models(
    named: Mapping[str, ModelConfig], models: Mapping[str, AtHand], foreseen: Foreseen
) -> Iterator[str]:
    """A line for each model that is not bundled."""
    for key, options in named.items():
        path = options.path
        if path is None:
            continue
        if key in foreseen.models:
            needs = foreseen.models[key]
            yield f"  model     {path}: {', '.join(_of_model(needs, models[key], foreseen.memory))}"
        elif refused := models[key].refused or foreseen.refused.get(key, ""):
            why = refused.removeprefix(f"model.path={path}: ")
            yield f"  model     {path}: cannot be used: {why}"


def _of_model(needs: ModelNeeds, model: AtHand, memory: int) -> Iterator[str]:
    yield f"{quantity(needs.parameters)} parameters"
    yield f"{megabytes(needs.bytes)} in {needs.dtype}"
    if model.to_download is None:
        yield "size of the download unknown"
    elif model.to_download:
        yield f"{megabytes(model.to_download)} to download"
    if needs.whole is not None and memory:
        yield "whole on the device" if needs.whole else "block by block on the device"
    elif needs.whole is False:
        yield "block by block from disk"
    if needs.peak is not None:
        yield f"about {size(needs.peak)} of {size(memory)}"


def needs_of_disk(
    jobs: Sequence[Job], models: Mapping[str, AtHand], foreseen: Foreseen
) -> Iterator[str]:
    """A line on what downloads and runs write, if it is much."""
    known = [(job, of) for job, of in zip(jobs, foreseen.written, strict=True) if of is not None]
    downloads = sum(model.to_download or 0 for model in models.values())
    state = max((of.state for _, of in known), default=0)
    kept: dict[Hashable, int] = {}
    for job, of in known:
        parts = parts_of(job)
        own = parts.pruned if parts.alone is not None else None
        kept[own or job.sparse or job.folder] = of.kept
        if parts.has_pruned_stage:
            kept[parts.pruned] = of.kept
    of_kept, saved = sum(kept.values()), sum(of.saved for _, of in known)
    total = downloads + state + of_kept + saved
    if total < WORTH_TELLING:
        return
    shares = {
        "of downloads": downloads,
        "for the state of a run": state,
        "of kept masks": of_kept,
        "of saved models": saved,
    }
    listed = ", ".join(f"{megabytes(part)} {what}" for what, part in shares.items() if part)
    yield f"  disk      at most {megabytes(total)}: {listed}"
