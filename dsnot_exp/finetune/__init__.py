"""Training of the sparse model under its mask, by name: one file per method."""

from dsnot_exp.finetune.lora import Lora

FINETUNERS: dict[str, type[Lora]] = {"lora": Lora}

__all__ = ["FINETUNERS", "Lora"]
