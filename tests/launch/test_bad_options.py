"""Wrong options: one line that names the key, the value and what is accepted; nothing is left."""

from __future__ import annotations

import re

import pytest

from tests.support.command import Command

BAD = [
    (["sparsity=1.5"], r"sparsity=1\.5"),
    (["sparsity=-0.1"], r"sparsity=-0\.1"),
    (["sparsity=abc"], r"sparsity.*abc|abc.*sparsity"),
    (["sparsty=0.5"], r"sparsty"),
    (["+sparsty=0.5"], r"sparsty: no such option"),
    (["+eval.task=[boolq]"], r"eval\.task: no such option"),
    (["refine=none", "refine.max_cycles=5"], r"refine\.max_cycles: no such option; `python"),
    (["prune=wandaa"], r"prune=wandaa: choose from alps, magnitude, .*wanda; did you mean wanda\?"),
    (["refine.dmp=1"], r"dmp"),
    (["refine.max_cycles=abc"], r"refine\.max_cycles.*abc"),
    (["pattern=4:2"], r"pattern=4:2"),
    (["pattern=0:4"], r"pattern=0:4"),
    (["pattern=2:4", "sparsity=0.7"], r"sparsity=0\.7.*pattern=2:4"),
    (["model=local"], r"model\.path is missing"),
    (["model=local", "model.path=/no/such/folder"], r"model\.path=/no/such/folder: no such"),
    (["calib.dataset=missing.txt"], r"calib\.dataset=missing\.txt: no such file"),
    (["calib.dataset=moon"], r"calib\.dataset=moon: choose from wikitext2"),
    (["calib.samples=0"], r"calib\.samples=0"),
    (["calib.seqlen=100000"], r"calib\.seqlen=100000: this model has 512 positions"),
    (["calib.seqlen=0"], r"calib\.seqlen=0"),
    (["refine.max_cycles=-1"], r"refine\.max_cycles=-1"),
    (["refine.grow=most"], r"refine\.grow=most: choose from"),
    (["refine.skip=[attention]"], r"refine\.skip=attention: matches no layer"),
    (["model.dtype=int8"], r"model\.dtype=int8: choose from auto"),
    (["eval.baselines=[raw]"], r"eval\.baselines=raw: choose from dense, pruned"),
    (["eval.perplexity=[moon]"], r"eval\.perplexity=moon"),
    (["eval.tasks=[tw_wher]"], r"eval\.tasks=tw_wher: .*did you mean tw_where"),
    (["relative_error=some"], r"relative_error=some: choose from sample, true, false"),
    (["eval.streaming=maybe"], r"eval\.streaming=maybe: choose from auto, true, false"),
    (["eval.num_fewshot=-1"], r"eval\.num_fewshot=-1"),
    (["device=tpu"], r"device=tpu"),
    (["wandb.mode=on"], r"wandb\.mode=on"),
    (["refine=false"], r"refine=false: choose from dsnot, dsnot_official, moments, none, swaps"),
    (["prune=null"], r"prune=null: choose from alps, magnitude"),
    (["prune=[wanda,magnitude]"], r"prune=\[wanda,magnitude\]: choose one of alps, magnitude"),
    (["calib=8"], r"calib=8: choose from c4"),
    (["calib=./text.txt"], r"write calib\.dataset=\./text\.txt"),
    (["eval=wikitext2"], r"write eval\.perplexity=\[wikitext2\]"),
    (["sparsity=50%"], r"sparsity=50%: expected a fraction in .*or N:M"),
    (["sparsity=true"], r"sparsity=true: expected a fraction in .*or N:M"),
    (["sparsity=4:2"], r"sparsity=4:2: .*0 < N < M"),
    (["sparsity=2:4", "pattern=4:8"], r"sparsity=2:4: .*pattern=4:8"),
    (["sparsity=0,5"], r"sparsity=0,5: write sparsity=0\.5"),
    (["sparsity=0.5,0.6"], r"sparsity=0\.5,0\.6: .*add -m"),
    (["sparsity=nan"], r"sparsity=nan: expected a fraction"),
    (["pattern=2/4"], r"pattern=2/4: expected 'unstructured' or N:M"),
    (["calib.samples=1e2"], r"calib\.samples=1e2: expected a whole number in digits"),
    (["calib.samples="], r"calib\.samples=: expected a whole number"),
    (["seed=abc"], r"seed=abc: expected a whole number"),
    (["save=maybe"], r"save=maybe: expected true or false"),
    (["save=2"], r"save=2: expected true or false"),
    (["eval.tasks=boolq"], r"eval\.tasks=boolq: expected a list"),
    (["refine.update_threshold=nan"], r"refine\.update_threshold=nan: expected 0 or more"),
    (["refine.update_threshold=low"], r"refine\.update_threshold=low: expected a number"),
    (["refine.max_cyles=3"], r"refine\.max_cyles: no such option; did you mean refine\.max_cycles"),
    (["modle=tinyworld"], r"modle: no such option; did you mean model"),
    (["model=pythia-161m"], r"model=pythia-161m: no such choice; did you mean pythia-160m"),
    (["model=/models/llama"], r"write model=local model\.path=/models/llama"),
    (["model=meta-llama/Llama-2-7b-hf"], r"write model=hub model\.path=meta-llama/Llama-2-7b-hf"),
    (["~sparsity"], r"~sparsity: an option cannot be removed"),
    (["~prune"], r"~prune: an option cannot be removed"),
    (["prune@other=wanda"], r"prune@other=wanda: write prune=VALUE"),
    (["calib.dataset=[a"], r"calib\.dataset=\[a: cannot be read"),
    (["model="], r"model=: no such choice"),
    (["pattern=2,4"], r"write pattern=2:4"),
    (["prune=wanda,magnitude"], r"several values are a sweep: add -m$"),
    (["+prune=wanda"], r"\+prune=wanda: write prune=wanda"),
    (["=3"], r"=3: expected KEY=VALUE"),
    (["wanda"], r"wanda: expected KEY=VALUE"),
    (["--model", "x"], r"--model: no such flag"),
    (["sweeps=table1"], r"write -m \+sweeps=table1"),
    (["+sweeps=table1"], r"\+sweeps=table1: .*add -m"),
    (["-m", "prune=wanda,wnada"], r"prune=wnada: choose from"),
    (["-m", "calib.samples=8,abc"], r"calib\.samples=abc: expected a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), BAD, ids=[" ".join(w) for w, _ in BAD])
def test_bad_requests_print_one_line_and_leave_nothing(
    command: Command, words: list[str], line: str
) -> None:
    done = command(*words)
    assert done.code == 2
    assert re.search(line, done.err, re.MULTILINE), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("dsnot_exp: ")
    assert list(command.folder.iterdir()) == []
