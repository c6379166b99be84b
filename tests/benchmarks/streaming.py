"""Memory of a run on a model that is read from disk block by block, by the system's own account.

    python -m tests.benchmarks.streaming --shape 13b --folder /scratch     26 GB, and as much again
    python -m tests.benchmarks.streaming --shape 13b --layers 4 --folder /scratch

Makes a random Llama of the shape in FOLDER (once), prunes, refines and saves it by the command line
in a process of its own, and prints the peak resident memory of that process beside the checkpoint's
size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from dsnot_exp.models.shards import write_shard

SHAPES = {  # hidden, intermediate, layers, heads, key-value heads: those of Llama 2
    "tiny": (128, 256, 4, 4, 2),
    "small": (512, 1408, 2, 8, 8),
    "1b": (2048, 5632, 22, 32, 32),
    "7b": (4096, 11008, 32, 32, 32),
    "13b": (5120, 13824, 40, 40, 40),
    "70b": (8192, 28672, 80, 64, 8),
}
VOCABULARY = 32000
GB, GIB = 1e9, 2**30


def configuration(shape: str, layers: int | None) -> LlamaConfig:
    hidden, intermediate, own, heads, kv = SHAPES[shape]
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers or own,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        vocab_size=VOCABULARY,
        dtype="bfloat16",
    )


def make_checkpoint(config: LlamaConfig, folder: Path) -> int:
    """Random weights, a shard per block; returns their bytes."""
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with init_empty_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        groups: dict[str, dict[str, torch.Tensor]] = {}
        for name, parameter in model.state_dict().items():
            group = name.split(".")[2] if ".layers." in name else "around"
            groups.setdefault(group, {})[name] = parameter
        where = {}
        for group, parameters in groups.items():
            made = {n: torch.empty(p.shape, dtype=p.dtype) for n, p in parameters.items()}
            for name, tensor in made.items():
                tensor.normal_(0, 0.02) if tensor.dim() > 1 else tensor.fill_(1)
                where[name] = f"model-{group}.safetensors"
            write_shard(folder / f"model-{group}.safetensors", made)
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        config.architectures = [type(model).__name__]
        config.save_pretrained(folder)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--streaming", default="true", help="false: the whole model in memory")
    parser.add_argument("options", nargs="*", help="more options of dsnot_exp")
    given = parser.parse_args()
    config = configuration(given.shape, given.layers)
    name = f"{given.shape}-{config.num_hidden_layers}"
    size = make_checkpoint(config, given.folder / name)
    ids = torch.randint(3, VOCABULARY, (given.sequences, given.tokens))
    save_file({"input_ids": ids}, given.folder / "calib.safetensors")
    run = given.folder / f"{name}-run"
    shutil.rmtree(run / "model", ignore_errors=True)
    command = [
        sys.executable, "-m", "dsnot_exp", "model=local", f"model.path={given.folder / name}",
        f"calib.dataset={given.folder / 'calib.safetensors'}", f"calib.samples={given.sequences}",
        f"calib.seqlen={given.tokens}", "eval=none", "wandb=disabled", "save=true", "rerun=true",
        f"model.streaming={given.streaming}", f"hydra.run.dir={run}", *given.options,
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ, check=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print("\n| model | checkpoint, GB | peak resident, GiB | seconds | exit code |")
    print("|---|---:|---:|---:|---:|")
    print(f"| {name} | {size / GB:.1f} | {peak / GIB:.2f} | {seconds:.0f} | {done.returncode} |")


if __name__ == "__main__":
    main()
