"""The typed schema: every option with its unit, bound and default. conf/ overrides the defaults.

The options of a method (`prune`, `refine`, `allocate`, `reconstruct`, `finetune`) are the fields of
that method's own dataclass; here each is a plain mapping that includes the method's `name`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.wanted import did_you_mean

STAGES = ("dense", "pruned", "refined")
BASELINES = STAGES[:2]
DTYPES = ("auto", "float32", "bfloat16", "float16")  # of the weights in memory
PLACES = ("auto", "device", "memory", "disk")  # of the hidden states
KEEPS = ("masks", "weights", "none")  # of the sparse model, for other runs
TRACKERS = ("wandb", "csv", "tensorboard")  # where a run is reported while it goes
WITHOUT_EFFECT = (
    "wandb", "track", "save", "keep", "rerun", "resume", "out", "sweep", "device", "method",
    "plugins",
)  # fmt: skip
PAPER_TASKS = [
    "boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa",
]  # fmt: skip


@dataclass
class ModelConfig:
    name: str = MISSING
    path: str | None = None  # hub id or folder
    revision: str | None = None  # branch, tag or commit on the hub
    dtype: str = "auto"  # auto (the checkpoint's dtype), float32, bfloat16, float16
    trust_remote_code: bool = False
    use_safetensors: bool = True  # false: trust pickled weights
    streaming: str = "auto"  # read blocks from disk: true, false; auto: if memory is short
    blocks: str | None = None  # name of the list of blocks, if it is not found
    dense: list[str] = field(default_factory=list)  # globs of linears, parameters to leave dense
    max_cycles: int | float | str = "auto"  # default of refine.max_cycles for this model
    perplexity: list[str] = field(default_factory=lambda: ["wikitext2"])  # eval's defaults
    tasks: list[str] = field(default_factory=lambda: list(PAPER_TASKS))


@dataclass
class TargetConfig:
    alpha: float = 0.0  # share of the drift of a layer's inputs that it makes up for, in [0, 1]
    beta: float = 0.0  # the same of the residual stream that its outputs are added to


@dataclass
class CalibConfig:
    target: TargetConfig = field(default_factory=TargetConfig)  # errors before a layer
    dataset: str = "c4"
    field: str = "text"  # the field of a JSON file or column of a parquet file to read
    bos: str = "auto"  # sequences start with BOS: true, false; auto: if the model needs it
    samples: int = 128  # sequences
    held_out: int | None = None  # more sequences, for what is chosen on them; null: 1/16
    seqlen: int | None = None  # tokens; null: 2048, or fewer if the model has fewer positions
    batch_size: int | None = None  # sequences per forward; null: about 4096 tokens
    states: str = "auto"  # place of hidden states: device, memory, disk; auto: the first with room
    min_tokens: int = 32  # experts with fewer are pruned by magnitude and not refined


@dataclass
class EvalConfig:
    name: str = MISSING
    perplexity: list[str] = field(default_factory=list)  # data sets
    seqlen: int | None = None  # tokens per sequence; null: calib.seqlen
    blocks: int | None = None  # sequences per text, the first ones; null: all
    tasks: list[str] = field(default_factory=list)  # names of lm-eval tasks
    limit: int | None = None  # items per task; null: all
    num_fewshot: int | None = None  # examples before an item; null: the task's default, mostly 0
    batch_size: int | None = None  # per forward; null: sequences of about 4096 tokens, 64 items
    streaming: str = "auto"  # block by block: true, false; auto: if the model does not fit
    baselines: list[str] = field(default_factory=lambda: list(BASELINES))  # further stages
    bos: str = "auto"  # as calib.bos, for blocks of text and items of tasks
    field: str = "text"  # as calib.field; the last, as it hides dataclasses.field from here on


@dataclass
class WandbConfig:
    mode: str = "offline"  # offline, online, disabled
    project: str = "dsnot_exp"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    prune: Any = MISSING
    refine: Any = MISSING
    allocate: Any = MISSING
    reconstruct: Any = MISSING
    finetune: Any = field(default_factory=lambda: {"name": "none"})
    calib: CalibConfig = field(default_factory=CalibConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    track: list[str] = field(default_factory=lambda: ["wandb"])  # of TRACKERS
    # zeros in each linear, in [0, 1), or N:M, which means pattern=N:M; null: implied by the pattern
    sparsity: int | float | str | None = None
    pattern: str = "unstructured"  # or N:M
    relative_error: str = "sample"  # per layer: on a sample of the tokens; true: on all; false
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda, cuda:0
    save: bool = False  # save the sparse model in the run's folder
    keep: str = "masks"  # of the sparse model, for other runs: masks; weights too; none
    rerun: bool = False  # false: skip a run that has a result
    resume: str = "true"  # resume a stopped run; false: start over; never: keep no state
    out: str = "outputs"  # folder of all sweeps, and of the measurements they share
    plugins: Any = field(default_factory=list)  # Python files with methods, one or a list
    method: str | None = None  # the preset that was chosen with +method, and its version
    sweep: str = "runs"  # subfolder of `out` for this run and related runs


def register_schema() -> None:
    ConfigStore.instance().store(name="schema", node=Config)


def to_config(composed: DictConfig) -> Config:
    """Hydra's composed configuration as a typed object, interpolations resolved."""
    try:
        config = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key} is missing: choose a value") from error
    except OmegaConfBaseException as error:
        raise RequestError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, Config)
    _refuse_unknown_keys("", config)
    return config


def _refuse_unknown_keys(prefix: str, node: Any) -> None:
    """Raise for keys without a field, such as `+sparsty=0.5`; they would have no effect."""
    known = {field.name for field in fields(node)}
    for key, value in vars(node).items():
        if key not in known:
            choices = (
                did_you_mean(key, sorted(known)) or f"; choose from {', '.join(sorted(known))}"
            )
            raise RequestError(f"{prefix}{key}: no such option{choices}")
        if is_dataclass(value):
            _refuse_unknown_keys(f"{prefix}{key}.", value)
