"""Ray, on a cluster that is this machine."""

from __future__ import annotations

from pathlib import Path

from tests.launch.beside import compare, needs
from tests.support.command import Command


@needs("ray")
def test_ray(command: Command, tmp_path: Path) -> None:
    words = ["sparsity=0.5,0.6,1.5", "hydra.launcher.ray.remote.num_cpus=1"]
    threads = compare(command, tmp_path, "ray", *words)
    assert threads == 1
