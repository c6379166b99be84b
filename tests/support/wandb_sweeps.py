"""The part of a W&B server that hands the runs of a sweep to agents."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass
class Sweep:
    """A grid. left: the runs that no agent has yet; given: by id of the run, its parameters"""

    config: dict[str, Any]
    left: list[dict[str, Any]]
    given: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Sweeps:
    """found: by name; agents: the sweep of each agent, by its id"""

    found: dict[str, Sweep] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)

    def graphql(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to one of the operations of a sweep; None for another operation."""
        if name == "UpsertSweep":
            config = yaml.safe_load(given["config"])
            values = {key: one["values"] for key, one in config["parameters"].items()}
            grid = [
                dict(zip(values, point, strict=True))
                for point in itertools.product(*values.values())
            ]
            sweep = f"sweep{len(self.found)}"
            self.found[sweep] = Sweep(config, grid)
            return {"upsertSweep": {"sweep": {"name": sweep}, "configValidationWarnings": []}}
        if name == "SweepWithRuns":
            config = yaml.safe_dump(self.found[given["sweep"]].config)
            sweep = {"id": "s", "name": given["sweep"], "config": config, "runs": {"edges": []}}
            return {"project": {"sweep": sweep}}
        if name == "CreateAgent":
            agent = f"agent{len(self.agents)}"
            self.agents[agent] = given["sweep"]
            return {"createAgent": {"agent": {"id": agent}}}
        if name == "Heartbeat":
            commands = self._commands(given["id"], json.loads(given["runState"]))
            answer = {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}
            return {"agentHeartbeat": answer}
        return None

    def _commands(self, agent: str, running: dict[str, bool]) -> list[dict[str, Any]]:
        sweep = self.found[self.agents[agent]]
        if running:
            return []
        if not sweep.left:
            return [{"type": "exit"}]
        point, run = sweep.left.pop(0), f"{self.agents[agent]}run{len(sweep.given)}"
        sweep.given[run] = point
        arguments = {key: {"value": value} for key, value in point.items()}
        program = sweep.config["program"]
        return [{"type": "run", "run_id": run, "program": program, "args": arguments}]
