"""Ray, on a cluster that is this machine."""

from __future__ import annotations

from pathlib import Path

from tests.launch.beside import compare, needs
from tests.support.command import Command


@needs("ray")
def test_ray(command: Command, tmp_path: Path) -> None:
    threads = compare(command, tmp_path, "ray", "hydra.launcher.ray.remote.num_cpus=1")
    assert threads == 1
