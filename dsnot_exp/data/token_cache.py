"""Cache of sampled tokens. Tokenising c4's shard takes longer than refining a block, so it is not
repeated for every cell of a table."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from dsnot_exp.utils.files import write_atomically
from dsnot_exp.utils.paths import cache

log = logging.getLogger(__name__)
Tensors = dict[str, Tensor]


def cached(key: dict[str, Any], tokenizer: Any, draw: Callable[[], Tensors]) -> Tensors:
    """Return `draw()`, cached by `key` and tokenizer. One of the tensors is `input_ids`."""
    whole = json.dumps({**key, "tokenizer": fingerprint(tokenizer)}, sort_keys=True)
    path = cache() / "tokens" / f"{hashlib.sha256(whole.encode()).hexdigest()[:32]}.safetensors"
    try:
        found = load(path.read_bytes())
        found["input_ids"]
        return found
    except FileNotFoundError:
        pass
    except Exception as error:  # damaged file: safetensors has its own exception types
        log.warning("cannot read %s (%r); sampling its tokens again", path, error)
    tokens = draw()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.contiguous() for name, tensor in tokens.items()}
        write_atomically(path, save(contiguous, {"key": whole}))
    except OSError as error:
        log.warning("cannot write %s (%s); the next run samples these tokens again", path, error)
    return tokens


def fingerprint(tokenizer: Any) -> str:
    """sha256 of everything that determines a tokenizer's ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = backend.to_str()
    else:
        content = json.dumps([tokenizer.init_kwargs, tokenizer.get_vocab()], default=str)
    return hashlib.sha256(f"{type(tokenizer).__name__}{content}".encode()).hexdigest()
