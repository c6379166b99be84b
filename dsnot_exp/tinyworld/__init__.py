"""A small Llama for a small language of our own: the language, its tasks, training and weights."""

from pathlib import Path

MODEL = Path(__file__).parent / "weights"
