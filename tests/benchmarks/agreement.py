"""Agreement with other people's code, on one model and the same calibration tokens.

    python -m tests.benchmarks.agreement --dsnot DSnoT --sparsegpt sparsegpt \
        --case "prune=wanda refine=dsnot_official sparsity=0.6" \
        --case "prune=sparsegpt refine=none sparsity=0.5" \
        model=local model.path=FOLDER calib.dataset=calib.txt eval.perplexity=[eval.txt]

DSnoT and sparsegpt are checkouts of github zyxxmu/DSnoT and github IST-DASLab/sparsegpt. The rest
are options of dsnot_exp; a case adds the method's. `--saved FOLDER` compares with a sparse model
that another program has saved instead, pruned on the tokens that `--write-tokens` wrote.

Each case makes the model sparse twice, by the other code and by ours. `same inputs` gives every
block of the other code the inputs that our block has: rounding in earlier blocks plays no part.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from dsnot_exp.config import register_schema
from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.models.placement import Placed
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.opened import open_for
from dsnot_exp.run.plan import Plan, plan_of
from dsnot_exp.run.prepare import prepare
from dsnot_exp.run.settle import is_none
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.utils.paths import beside_or_inside
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sequences import begin
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.sparsify import allocation
from dsnot_exp.walk.view import BlockView
from tests.benchmarks.authors import Authors, dsnot, sparsegpt, start
from tests.benchmarks.comparing import HEAD, Zeros, row, zeros
from tests.benchmarks.timing import machine, table

FIXED = ["calib.batch_size=1", "relative_error=false", "eval.baselines=[]", "wandb=disabled"]


def main() -> None:
    given = arguments()
    rows = []
    for case in given.case:
        plan, inputs = prepared([*given.options, *case.split()])
        if given.write_tokens:
            save_file({"input_ids": inputs.calibration.ids}, given.write_tokens)
            return
        rows.append(compared(case, Case(plan, inputs, given)))
        print(f"| {' | '.join(rows[-1])} |", flush=True)
    print(f"\n{machine(plan.device)}, {inputs.calibration.ids.numel()} tokens\n")
    print(table(HEAD, rows))


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsnot", help="a checkout of github zyxxmu/DSnoT")
    parser.add_argument("--sparsegpt", help="a checkout of github IST-DASLab/sparsegpt")
    parser.add_argument("--exact", action="store_true", help="sparsegpt: see authors.sparsegpt")
    parser.add_argument("--saved", help="a sparse model to compare the only case with")
    parser.add_argument("--write-tokens", help="write the calibration tokens here, and stop")
    parser.add_argument("--eval-blocks", type=int, default=40, help="of eval.seqlen tokens")
    parser.add_argument("--case", action="append", required=True, help="the options of a method")
    parser.add_argument("options", nargs="*", help="options of dsnot_exp, for all cases")
    return parser.parse_args()


def prepared(words: Sequence[str]) -> tuple[Plan, Inputs]:
    register_schema()
    register()
    with initialize_config_dir(str(beside_or_inside("conf").resolve()), version_base="1.3"):
        return prepare(plan_of(compose("config", [*FIXED, *words])))


@dataclass
class Case:
    """A method on a model, and the other code that is asked for the same."""

    plan: Plan
    inputs: Inputs
    given: Any

    def __post_init__(self) -> None:
        assert self.inputs.calibration is not None, "the case uses no calibration tokens"
        self.ids = self.inputs.calibration.ids
        (text,) = self.inputs.evaluation.values()
        self.text = text.ids[: self.given.eval_blocks]

    def opened(self) -> Placed:
        return open_for(self.plan, self.inputs)

    def perplexity(self, model: Any) -> float:
        return perplexity(model, self.text, per_forward(self.text.shape[1]))

    def authors(self) -> Authors | None:
        """None if the other code's model is read from a folder."""
        config, given = self.plan.config, self.given
        if given.saved:
            return None
        if config.prune["name"] != "sparsegpt":
            assert given.dsnot, "--dsnot is missing"
            return dsnot(given.dsnot, config)
        assert given.sparsegpt, "--sparsegpt is missing"
        assert is_none(config.refine), "the released DSnoT code never accumulates the Hessian"
        return sparsegpt(given.sparsegpt, config, given.exact)


def compared(name: str, case: Case) -> list[str]:
    authors = case.authors()
    theirs, model = other(case, authors)
    their_perplexity = case.perplexity(model)
    del model
    placed, beside = case.opened(), list[Zeros]()
    ours = solve(placed, case, authors, beside)
    our_perplexity = case.perplexity(placed.model)
    return row(name, theirs, ours, beside, their_perplexity, our_perplexity)


@torch.no_grad()
def other(case: Case, authors: Authors | None) -> tuple[list[Zeros], Any]:
    """The zeros of each block, and the sparse model, by the other code on its own inputs."""
    if authors is None:
        dtype = getattr(torch, case.plan.config.model.dtype)
        model = AutoModelForCausalLM.from_pretrained(case.given.saved, dtype=dtype).eval()
        blocks = find_blocks(model)[1]
    else:
        placed = case.opened()
        model, blocks = placed.model, placed.blocks[1]
        authors(list(blocks), *start(model, blocks, case.ids))
    return [zeros(linears(block)) for block in blocks], model


@torch.no_grad()
def solve(placed: Placed, case: Case, authors: Authors | None, beside: list[Zeros]) -> list[Zeros]:
    """The zeros of each block by our code. `beside` receives those of the other code on the same
    inputs."""
    recipe = case.plan.recipe
    assert recipe is not None
    solver, ours = BlockSolver(recipe, allocation(placed, recipe)), list[Zeros]()

    def both(view: BlockView) -> Solved:
        if authors is not None:
            block = copy.deepcopy(view.module)
            hidden = torch.cat(list(view.inputs()))
            authors([block], hidden, [view.sequences.calls(view.index)[0]])
            beside.append(zeros(linears(block)))
        solved = solver(view)
        ours.append(zeros(view.linears))
        return solved

    with begin(placed, case.ids, 1) as sequences:
        walk(sequences, both, placed.dense)
    return ours


if __name__ == "__main__":
    main()
