"""The trackers of a run, by the options `track` and `wandb`."""

from __future__ import annotations

from dsnot_exp.config import Config
from dsnot_exp.results.tracking.csv_file import CsvFile
from dsnot_exp.results.tracking.tensorboard_files import TensorBoardFiles
from dsnot_exp.results.tracking.tracker import Tracker
from dsnot_exp.results.tracking.wandb_run import WandbRun


def trackers(config: Config) -> dict[str, Tracker]:
    """By name, in the order of the option; W&B unless wandb.mode=disabled."""
    found: dict[str, Tracker] = {}
    for name in config.track:
        if name == "csv":
            found[name] = CsvFile()
        elif name == "tensorboard":
            found[name] = TensorBoardFiles()
        elif config.wandb.mode != "disabled":
            found[name] = WandbRun(config.wandb.mode == "online")
    return found
