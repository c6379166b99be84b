"""W&B agents drive the command line: the real `wandb sweep` and `wandb agent`, with the file of the
documentation, on a server of this machine."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import yaml

from tests.results.test_wandb import python
from tests.support.command import toy_arguments
from tests.support.waiting import ROOT
from tests.support.wandb_server import wandb_server


def test_an_agent_runs_the_sweep_of_the_documentation(tmp_path: Path) -> None:
    words = [w for w in toy_arguments(tmp_path) if "wandb" not in w]
    config = yaml.safe_load((ROOT / "docs" / "wandb-sweep.yaml").read_text())
    del config["parameters"]["sparsity"]["values"][1:]
    config["command"] += [*words, f"out={tmp_path}/outputs"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # an agent starts "python"
    own = {"HOME": str(tmp_path), "PATH": path, "WANDB_DIR": str(tmp_path)}
    with wandb_server() as server:
        python(server, "wandb", "sweep", str(tmp_path / "sweep.yaml"), **own)
        (name,) = server.sweeps.found
        python(server, "wandb", "agent", "--count", "2", f"me/dsnot_exp/{name}", **own)
    given = server.sweeps.found[name].given
    assert given.keys() == server.runs.keys()
    assert [point["refine"] for point in given.values()] == ["none", "dsnot"]
    for identity, run in server.runs.items():
        assert run.state == "finished"
        assert run.attributes["sweep"] == name
        (closing,) = run.parsed("wandb-summary.json")
        assert closing["metrics/perplexity/~/test.safetensors/refined"] > 1
        assert [row["block"] for row in run.history() if "block" in row] == [0, 1, 2]
        assert ("dsnot" in run.attributes["tags"]) == (given[identity]["refine"] == "dsnot")


def test_a_finished_run_answers_an_agent_at_once_and_nobody_else(tmp_path: Path) -> None:
    words = [w for w in toy_arguments(tmp_path) if "wandb" not in w] + ["refine=none"]
    words += [f"hydra.run.dir={tmp_path}/run", "wandb=online"]
    with wandb_server() as server:
        python(server, "dsnot_exp", *words, HOME=str(tmp_path))
        (first,) = server.runs
        sent = len(server.operations)
        assert re.search("already finished", python(server, "dsnot_exp", *words))
        assert len(server.operations) == sent
        agent = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "given", "HOME": str(tmp_path)}
        python(server, "dsnot_exp", *words, **agent)
    run = server.runs["given"]
    assert run.state == "finished"
    assert (
        run.parsed("wandb-summary.json")[0].items()
        >= {
            key: value
            for key, value in server.runs[first].parsed("wandb-summary.json")[0].items()
            if key.startswith("metrics/")
        }.items()
    )
