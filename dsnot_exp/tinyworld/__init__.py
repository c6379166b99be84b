"""A small Llama for a small language of our own, with the language, its tasks and its training."""

from pathlib import Path

MODEL = Path(__file__).parent / "weights"
