"""Our sweeper, `hydra/sweeper=grids`. Hydra finds sweepers in the package `hydra_plugins` only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from dsnot_exp.launch.grids import words_of


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper with `grids`. It starts what the callback `Sweep` has planned: each run
    once, and none that is refused."""

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        grids: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.grids = grids

    def split_arguments(  # type: ignore[override]  # static in Hydra, which calls it on self
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Batches of jobs; a job is a list of words."""
        from dsnot_exp.launch.sweep import Sweep  # it loads the plug-ins

        assert self.config is not None
        assert self.hydra_context is not None
        if Sweep.plan is not None:
            jobs = [job.words for job in Sweep.plan.to_start]
        else:  # one of them does not compose; Hydra says why when it checks them
            jobs = words_of(self.config, self.hydra_context.config_loader)
        return list(self.split_overrides_to_chunks(jobs, max_batch_size)) if jobs else []
