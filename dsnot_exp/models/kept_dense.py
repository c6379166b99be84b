"""Why a parameter outside the linear layers stays dense by itself: it is no weight matrix.

Depthwise convolutions, the state of a state-space model, vectors and the like. A matrix that none
of these reasons fits is refused (`linears.refuse_unprunable`), unless `model.dense` names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from dsnot_exp.models.routers import CONVOLUTIONS
from dsnot_exp.utils.errors import DsnotError, RequestError

NOT_CALLED = "never called in the forward, so no calibration input reaches the layer"
NO_PRODUCT = "the output is no product of the whole input and the weight"
# Mamba's A and D, RWKV's mixing of time steps, the gates of RecurrentGemma's recurrence.
STATE = re.compile(r"(A|A_log|D|dt|dt_bias|time_\w+|(input|recurrent)_gate_weight)$")
SHORT_CONVOLUTION = re.compile(r"short_?conv", re.IGNORECASE)


def why_dense(module: nn.Module, name: str, parameter: Tensor) -> str | None:
    """Why `parameter`, called `name` in `module`, stays dense by itself; None: it does not."""
    kind = type(module).__name__
    if isinstance(module, CONVOLUTIONS) and parameter.shape[1] == 1:
        return "depthwise convolution"
    if SHORT_CONVOLUTION.search(kind):
        return "short convolution"
    if STATE.match(name):
        return "state of a recurrence"
    if name.endswith("bias"):
        return "bias"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if "Norm" in kind or name == "scale":
        return "scale"
    return "vector" if parameter.numel() == max(parameter.shape) else None


def setting(names: Iterable[str], dense: Sequence[str] = ()) -> str:
    """The option that keeps `names` dense, beside what it holds already, as a shell takes it.

    names: inside a block
    """
    globs = json.dumps(list(dict.fromkeys([*dense, *map(starred, names)])), separators=(",", ":"))
    return f"'model.dense={globs}'"


def refuse_layers(
    wrong: Mapping[tuple[str, str], str],
    dense: Sequence[str] = (),
    error: type[DsnotError] = RequestError,
) -> None:
    """Raise if there are any; one message for all of them.

    wrong: what is the matter, by the name of a block and of a layer inside it
    dense: the value of `model.dense`
    """
    if wrong:
        names = [layer for _, layer in wrong]
        first, what = next(iter(wrong.items()))
        several = len({starred(layer) for layer in names}) > 1
        others, them = (" and others", "them") if several else ("", "it")
        raise error(
            f"{'.'.join(first)}{others}: {what}; to keep {them} dense, set {setting(names, dense)}"
        )


def starred(name: str) -> str:
    """`experts.7.up_proj` as `experts.*.up_proj`: one glob for all members of a list."""
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name)
