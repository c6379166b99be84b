"""The papers of our methods. A method without one is ours, or as old as the field."""

from __future__ import annotations

from collections.abc import Iterable

DSNOT = "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs"
# (group, method) -> title, place on arxiv.org or elsewhere
PAPERS = {
    ("prune", "wanda"): (
        "A Simple and Effective Pruning Approach for Large Language Models",
        "arXiv:2306.11695",
    ),
    ("prune", "sparsegpt"): (
        "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
        "arXiv:2301.00774",
    ),
    ("prune", "ria"): (
        "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models",
        "Zhang et al., ICLR 2024",
    ),
    ("prune", "alps"): (
        "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models",
        "arXiv:2406.07831",
    ),
    ("refine", "dsnot"): (DSNOT, "arXiv:2310.08915"),
    ("refine", "dsnot_official"): (DSNOT, "arXiv:2310.08915"),
    ("allocate", "owl"): (
        "Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High "
        "Sparsity",
        "arXiv:2310.05175",
    ),
    ("allocate", "alpha"): (
        "AlphaPruning: Using Heavy-Tailed Self Regularization Theory for Improved Layer-wise "
        "Pruning of Large Language Models",
        "arXiv:2410.10912",
    ),
    ("allocate", "linear"): (
        "Determining Layer-wise Sparsity for Large Language Models Through a Theoretical "
        "Perspective",
        "arXiv:2502.14770",
    ),
    ("allocate", "search"): ("EvoPress (a search by mutation)", "arXiv:2410.14649"),
    ("reconstruct", "admm"): (
        "Fast and Effective Weight Update for Pruned Large Language Models",
        "arXiv:2401.02938",
    ),
    ("reconstruct", "block"): (
        "A Free Lunch in LLM Compression: Revisiting Retraining after Pruning",
        "arXiv:2510.14444",
    ),
    ("finetune", "lora"): (
        "LoRA: Low-Rank Adaptation of Large Language Models",
        "arXiv:2106.09685",
    ),
}


def citations(stages: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """(title, place) of the paper of every method of a run, in the order of its stages. A run with
    any refiner cites DSnoT, from which all of them come.

    stages: group, method, options
    """
    chosen = [(group, name) for group, name, _ in stages]
    found = [PAPERS[key] for key in chosen if key in PAPERS]
    dsnot = PAPERS["refine", "dsnot"]
    refines = any(group == "refine" for group, _ in chosen)
    return [*found, dsnot] if refines and dsnot not in found else found
