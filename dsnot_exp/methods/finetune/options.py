"""The options of every method that trains: data, steps and learning rate."""

from __future__ import annotations

from dataclasses import dataclass

SCHEDULES = ("linear", "cosine", "constant_with_warmup")


@dataclass(frozen=True)
class TrainingOptions:
    """The optimizer is AdamW without weight decay; the gradient's norm is clipped to 1.

    dataset, samples, seqlen: training sequences, sampled as the calibration sequences are, so the
        calibration sequences come first. samples null: as many as `steps` need, each used once;
        seqlen null: calib.seqlen
    steps, batch_size: optimizer steps, and sequences in each
    learning_rate: the peak; it rises linearly over the first `warmup` (a fraction) of the steps,
        then follows `schedule`
    checkpointing: recompute activations in the backward pass: less memory, a third more time
    """

    dataset: str = "c4"
    samples: int | None = None
    seqlen: int | None = None
    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-4
    warmup: float = 0.05
    schedule: str = "linear"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("samples", "steps", "batch_size"):
            require_positive(name, getattr(self, name))
        if self.seqlen is not None and self.seqlen < 2:
            raise ValueError(f"seqlen={self.seqlen}: a sequence needs two tokens to predict one")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate={self.learning_rate}: expected above 0, at most 1")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup}: expected a fraction of the steps in [0, 1)")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule}: choose from {', '.join(SCHEDULES)}")

    @property
    def sequences(self) -> int:
        """How many sequences the training uses."""
        return self.samples or self.steps * self.batch_size


@dataclass(frozen=True)
class LoraOptions(TrainingOptions):
    """rank, alpha: of the adapters; the delta is scaled by alpha / rank."""

    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "alpha"):
            require_positive(name, getattr(self, name))


def require_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{name}={value}: expected 1 or more")
