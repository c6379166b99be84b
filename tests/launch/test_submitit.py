"""submitit: processes of this machine, and SLURM."""

from __future__ import annotations

import os
from pathlib import Path

from tests.launch.beside import compare, needs
from tests.support.command import Command

SLURM = {
    "sbatch": """
        cp "$1" "$SLURM_LEFT/script"; echo "Submitted batch job 77"
        export SLURM_JOB_ID=77 SLURM_ARRAY_JOB_ID=77 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1
        export SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=localhost
        submitted() { find "$SLURM_LEFT/outputs" -name '77_?_submitted.pkl' | wc -l; }
        (until [ "$(submitted)" = 2 ]; do sleep 0.1; done
         for i in 0 1; do SLURM_ARRAY_TASK_ID=$i sh "$1" & done; wait) >/dev/null 2>&1 &
    """,
    "srun": """
        while :; do case "$1" in
            --output|--error) shift 2;; -*) shift;; *) exec "$@";; esac; done
    """,
    "sacct": "echo 'JobID|State|NodeList'",
    "scancel": ":",
}


@needs("submitit_local")
def test_submitit_local(command: Command, tmp_path: Path) -> None:
    words = ["sparsity=0.5,1.5", "hydra.launcher.cpus_per_task=1"]
    threads = compare(command, tmp_path, "submitit_local", *words)
    assert threads == 1


@needs("submitit_slurm")
def test_submitit_slurm(command: Command, tmp_path: Path) -> None:
    """With commands that stand for SLURM's, run what sbatch is given."""
    for name, text in SLURM.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    own = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_LEFT": str(tmp_path)}
    options = ["mem_gb=320", "partition=gpu", "cpus_per_task=1"]
    options = [f"hydra.launcher.{option}" for option in options]
    compare(command, tmp_path, "submitit_slurm", "sparsity=0.5,0.6,1.5", *options, **own)
    script = (tmp_path / "script").read_text()
    for line in ("mem=320GB", "partition=gpu", "gpus-per-node=1", "time=240", "array=0-1%2"):
        assert f"#SBATCH --{line}\n" in script
