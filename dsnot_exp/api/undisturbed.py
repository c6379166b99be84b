"""Computes as the command line does, whatever the caller has set, and leaves everything as it was:
modes of the model and of torch, gradients, random states, and what libraries print."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.console import console


@contextmanager
def undisturbed(model: nn.Module, progress: bool) -> Iterator[None]:
    """progress: print lines and bars"""
    devices = {parameter.device for parameter in model.parameters()}
    with ExitStack() as stack:
        stack.enter_context(quiet(not progress))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in {"cpu", *(device.type for device in devices)}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # of new tensors; else it costs time per call
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_default_dtype())
        stack.enter_context(_random_states(devices))
        stack.enter_context(_evaluating(model))
        yield


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients."""
    training = [(module, module.training) for module in model.modules()]
    asked = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        model.eval()
        for parameter, _, _ in asked:
            parameter.requires_grad_(False)
            parameter.grad = None
        yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter, wanted, gradient in asked:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient


@contextmanager
def _random_states(devices: Iterable[torch.device]) -> Iterator[None]:
    """Those of Python, numpy, the CPU and `devices`, which lm-eval seeds."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device for device in devices if is_accelerator(device)]):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)


@contextmanager
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def quiet(silent: bool) -> Iterator[None]:
    """Without the libraries' warnings and bars; `silent`: without our lines too."""
    hidden, logs = console.quiet, transformers.logging
    verbosity: Any = logs.get_verbosity()
    bars = logs.is_progress_bar_enabled()
    console.quiet = hidden or silent
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        console.quiet = hidden
        logs.set_verbosity(verbosity)
        if bars:
            logs.enable_progress_bar()
