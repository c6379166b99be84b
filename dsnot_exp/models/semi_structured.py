"""2:4 weights in the form that torch multiplies by sparse tensor cores, for inference on a GPU.

torch has two kinds of kernels for it: those of cuSPARSELt (hipSPARSELt on AMD's GPUs), and CUTLASS,
for NVIDIA's compute capability 8.x alone. Neither checks that a weight is 2:4; what is too much is
dropped. So every converted weight is multiplied once and compared with the dense product.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import (
    SparseSemiStructuredTensor,
    SparseSemiStructuredTensorCUSPARSELT,
    SparseSemiStructuredTensorCUTLASS,
)

from dsnot_exp.models.kept_dense import starred
from dsnot_exp.models.two_of_four import group_axis
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError, RunError, first_line

CAPABILITY = (8, 0)  # of NVIDIA's first sparse tensor cores
AMD = ("gfx942", "gfx950")  # those for which torch 2.13 takes hipSPARSELt
# torch converts float32 too, but multiplies it as 1:2: half of the kept weights would be dropped.
DTYPES = (torch.float16, torch.bfloat16)
CHECKED = 16  # rows of the input by which a converted weight is multiplied


@dataclass(frozen=True)
class SemiStructured:
    """What `semi_structured` did: the names of the layers that it converted, and by name those that
    are 2:4 and stay dense, with the reason."""

    converted: list[str] = field(default_factory=list)
    dense: dict[str, str] = field(default_factory=dict)

    def left(self) -> Iterator[str]:
        """A line for each kind of layer that stays dense."""
        kinds = Counter((starred(name), why) for name, why in self.dense.items())
        for (name, why), count in kinds.items():
            yield f"{name}{f' ({count} layers)' if count > 1 else ''}: {why}"


def unsupported(device: torch.device) -> str:
    """Why torch cannot multiply 2:4 weights on a device; empty if it can."""
    if device.type != "cuda" or accelerator.present() is None:
        there = accelerator.present()
        what = "this machine has none" if there is None else f"device={device} is none"
        return f"torch multiplies 2:4 weights on a GPU of NVIDIA or AMD alone, and {what}"
    name = accelerator.name(device)
    if torch.version.hip is not None:
        arch = torch.cuda.get_device_properties(device).gcnArchName.partition(":")[0]
        here = f"{name} is {arch}, and torch multiplies 2:4 weights on {' and '.join(AMD)}"
        return "" if arch in AMD else here
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < CAPABILITY:
        return (
            f"{name} has compute capability {major}.{minor}, and sparse tensor cores come with "
            f"{CAPABILITY[0]}.{CAPABILITY[1]}"
        )
    if kernels() is SparseSemiStructuredTensorCUTLASS and major != CAPABILITY[0]:
        return (
            f"{name} (compute capability {major}.{minor}) needs cuSPARSELt, and torch "
            f"{torch.__version__} has none, or is told to use CUTLASS"
        )
    return ""


def kernels() -> Any:
    """The class of converted weights whose kernels torch takes. Its own switch between the two,
    `SparseSemiStructuredTensor._FORCE_CUTLASS`, holds here too."""
    has_library = torch.backends.cusparselt.is_available() or torch.version.hip is not None
    if has_library and not SparseSemiStructuredTensor._FORCE_CUTLASS:
        return SparseSemiStructuredTensorCUSPARSELT
    return SparseSemiStructuredTensorCUTLASS


def named(*dtypes: torch.dtype) -> str:
    return " and ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def why_dense(dtype: torch.dtype, shape: tuple[int, ...], axis: int | None) -> str:
    """Why torch cannot convert a weight of (out, in); empty if it can. axis: of its groups"""
    if dtype not in DTYPES:
        return f"{named(dtype)}, and torch takes {named(*DTYPES)}"
    if len(shape) != 2 or axis != -1:
        return (
            f"{len(shape)} dimensions, with its groups of four along axis {axis}, and torch takes "
            "two, with the groups along the last"
        )
    limits = kernels()._DTYPE_SHAPE_CONSTRAINTS[dtype]
    rows, columns = limits.sparse_min_rows, limits.sparse_min_cols
    if shape[0] % rows or shape[1] % columns:
        return f"{shape[0]} x {shape[1]}, and torch takes multiples of {rows} x {columns}"
    return ""


@torch.no_grad()
def semi_structured(model: nn.Module) -> SemiStructured:
    """Convert, in place, every 2:4 weight of the linear layers of a model on a GPU. What is not 2:4
    is left alone. The converted model is for inference there: it can neither be trained nor saved.

    Raises RequestError if no layer can be converted, and RunError if a product is wrong.
    """
    if why := unsupported(next(model.parameters()).device):
        raise RequestError(f"{why}; keep the model dense")
    done: dict[int, nn.Parameter] = {}
    found = SemiStructured()
    for name, module, weight in _two_of_four(model):
        if id(weight) not in done:
            if why := _why_dense(module, weight):
                found.dense[name] = why
                continue
            done[id(weight)] = nn.Parameter(converted(name, weight), requires_grad=False)
        module.weight = done[id(weight)]
        found.converted.append(name)
    if found.dense and not found.converted:
        name, why = next(iter(found.dense.items()))
        raise RequestError(f"no layer of the model can be converted; {name}: {why}")
    if not found.converted:
        raise RequestError("no layer of the model is 2:4; prune it with pattern=2:4")
    return found


def _two_of_four(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """The 2:4 parameters of a model: the layer's name, the module that owns it, the parameter."""
    for name, module in model.named_modules():
        for own, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.is_floating_point() or not bool(parameter.any()):
                continue
            if group_axis(parameter) is not None:
                yield (name if own == "weight" else f"{name}.{own}"), module, parameter


def _why_dense(module: nn.Module, weight: Tensor) -> str:
    if not isinstance(module, nn.Linear) or type(module).forward is not nn.Linear.forward:
        return f"in a {type(module).__name__}, and torch's form is for torch.nn.Linear"
    return why_dense(weight.dtype, tuple(weight.shape), group_axis(weight))


def converted(name: str, weight: Tensor) -> Tensor:
    """A 2:4 weight (out, in) in torch's form. Raises RunError if torch cannot convert it, or if its
    product is not that of the dense weight."""
    try:
        # Adding zero turns -0.0 into 0.0, which a library may count as a value.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The PyTorch API of SparseSemiStructuredTensor")
            sparse: Tensor = kernels().from_dense((weight + 0.0).contiguous())
        error = _error(weight, sparse)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as failed:
        raise RunError(
            f"{name}: torch cannot multiply it as 2:4 on {accelerator.name(weight.device)} "
            f"({first_line(failed)}); use the dense model"
        ) from failed
    if not error <= 2 * torch.finfo(weight.dtype).eps:
        raise RunError(
            f"{name}: its 2:4 product on {accelerator.name(weight.device)} is off the dense one by "
            f"{error:.2g} of it; use the dense model"
        )
    return sparse


def _error(weight: Tensor, sparse: Tensor) -> float:
    """How far the product of the converted weight is from the dense one, relative to it."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(CHECKED, weight.shape[1], generator=generator)
    inputs = inputs.to(weight.device, weight.dtype)  # (rows, in)
    exact = nn.functional.linear(inputs.float(), weight.float())  # (rows, out)
    found = nn.functional.linear(inputs, sparse).float()
    return float((found - exact).norm() / exact.norm())
