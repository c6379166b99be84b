"""Makes a model sparse with llm-compressor, on tokens that tests.benchmarks.agreement wrote.

    python -m tests.benchmarks.llm_compressor --model FOLDER --tokens tokens.safetensors \
        --method sparsegpt --sparsity 0.5 --pattern 2:4 --folder SPARSE

It runs in an environment of its own, with llmcompressor in it, and imports nothing of this package.
`python -m tests.benchmarks.agreement --saved SPARSE` compares what it saves.
"""

from __future__ import annotations

import argparse

from safetensors.torch import load_file


def main() -> None:
    options = arguments()
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
    from transformers import AutoModelForCausalLM

    ids = load_file(options.tokens)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    modifier = {"sparsegpt": SparseGPTModifier, "wanda": WandaPruningModifier}[options.method]
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids.tolist()]
    oneshot(
        model=model,
        dataset=Dataset.from_list(rows),
        recipe=modifier(
            sparsity=options.sparsity,
            mask_structure=options.pattern,
            targets=["Linear"],
            ignore=["re:.*lm_head"],
        ),
        max_seq_length=ids.shape[1],
        num_calibration_samples=len(ids),
        shuffle_calibration_samples=False,
    )
    # Plain tensors, as transformers loads them: no compressed format.
    model.save_pretrained(options.folder, save_compressed=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder that transformers loads")
    parser.add_argument("--tokens", required=True, help="input_ids (sequences, tokens)")
    parser.add_argument("--method", choices=["sparsegpt", "wanda"], required=True)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--pattern", default="0:0", help="zeros in every so many; 0:0: none")
    parser.add_argument("--folder", required=True, help="for the sparse model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
