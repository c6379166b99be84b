"""What DSnoT's Triton kernel takes of a GPU, by Triton's compilers alone: no GPU is needed.

    python -m tests.benchmarks.kernel_resources --widths 4096,28672 --archs sm_90,gfx942

registers   per thread; of AMD, vector registers
shared      bytes of shared memory per block
spilled     bytes stored and loaded per thread where registers do not suffice; of AMD, registers
stack       bytes of local memory per thread
blocks      of one row each, that a multiprocessor holds at once
"""

from __future__ import annotations

import argparse
import functools
import re
import subprocess
import tempfile
from dataclasses import astuple, dataclass, fields
from typing import Any

from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability
from triton.compiler import ASTSource, compile

from dsnot_exp.methods.refine.dsnot.triton_kernel import LAUNCH, constants, refine_row
from tests.benchmarks.timing import table

ARCHS = ("sm_80", "sm_90", "sm_100", "gfx90a", "gfx942")
WIDTHS = (4096, 5120, 8192, 11008, 13824, 14336, 28672)  # of models from 7B to 70B
DTYPES = {"bfloat16": "*bf16", "float16": "*fp16", "float32": "*fp32"}
KINDS = ("unstructured", "unstructured+flip_stops", "unstructured+run_on", "2:4", "2:4+flip_stops")
TYPES = {
    **dict.fromkeys(("unit", "divisor", "norm"), "*fp32"), "state": "*u8",
    **dict.fromkeys(("threshold", "error"), "*fp64"), "swaps": "*i64",
    **dict.fromkeys(("width", "cycles"), "i32"),
}  # fmt: skip
# A multiprocessor of NVIDIA's has four parts, which give registers to warps by 256.
PARTS, REGISTERS, UNIT = 4, 16384, 256
BLOCKS, WARPS = 32, 64
SHARED = {"sm_80": 164 << 10, "sm_90": 228 << 10, "sm_100": 228 << 10}
RESERVED = 1 << 10  # bytes of shared memory per block, besides its own
SIMDS = 4  # parts of AMD's compute units (gfx9)


@dataclass(frozen=True)
class Resources:
    warps: int
    registers: int
    shared: int
    spilled: tuple[int, ...]
    stack: int
    blocks: int

    def cells(self) -> list[str]:
        return [str(v) if isinstance(v, int) else " / ".join(map(str, v)) for v in astuple(self)]


def compiled(arch: str, width: int, dtype: str, kind: str) -> Any:
    """The kernel as it is launched on rows of `width` weights. `kind`: one of KINDS."""
    pattern, _, option = kind.partition("+")
    m = 0 if pattern == "unstructured" else int(pattern.partition(":")[2])
    used = constants(width, m, option == "flip_stops", option == "run_on")
    return _compiled(arch, dtype, width % 16 == 0, tuple(used.items()))


@functools.cache  # widths with as many chunks have the same code
def _compiled(arch: str, dtype: str, aligned: bool, used: tuple[tuple[str, int], ...]) -> Any:
    names = refine_row.arg_names
    signature = {name: TYPES.get(name, DTYPES[dtype]) for name in names}
    signature |= dict.fromkeys(dict(used), "constexpr")
    # A launch finds out that pointers are multiples of 16, and most widths.
    multiples = [name for name in names if signature[name].startswith("*")] + ["width"] * aligned
    known = {(names.index(name),): [["tt.divisibility", 16]] for name in multiples}
    source = ASTSource(refine_row, signature, dict(used), known)
    nvidia = arch.startswith("sm_")
    target = GPUTarget("cuda", int(arch[3:]), 32) if nvidia else GPUTarget("hip", arch, 64)
    return compile(source, target=target, options=LAUNCH)


@functools.cache
def resources(arch: str, kernel: Any) -> Resources:
    return of_nvidia(arch, kernel) if arch.startswith("sm_") else of_amd(kernel)


def of_nvidia(arch: str, kernel: Any) -> Resources:
    """By the report of Triton's own ptxas."""
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(kernel.asm["ptx"])
        file.flush()
        capability = int(arch[3:])
        command = [get_ptxas(capability).path, "-v", "--fmad=false", "--regAllocOptLevel=2"]
        command += [f"--gpu-name={sm_arch_from_capability(capability)}", "-o", "/dev/null"]
        report = subprocess.run([*command, file.name], check=True, capture_output=True, text=True)
    stack, *spilled = numbers(r"(\d+) bytes (?:stack|spill)", report.stderr)
    (registers,) = numbers(r"Used (\d+) registers", report.stderr)
    warps, shared = kernel.metadata.num_warps, kernel.metadata.shared
    room = PARTS * (REGISTERS // (-(-registers * 32 // UNIT) * UNIT))  # warps
    blocks = min(BLOCKS, WARPS // warps, room // warps, SHARED[arch] // (shared + RESERVED))
    return Resources(warps, registers, shared, tuple(spilled), stack, blocks)


def of_amd(kernel: Any) -> Resources:
    """By what the assembly says of itself."""
    text, warps = kernel.asm["amdgcn"], kernel.metadata.num_warps
    of = {
        key: numbers(rf"{key}: +(\d+)", text)[0]
        for key in (".vgpr_count", ".vgpr_spill_count", ".sgpr_spill_count",
                    ".private_segment_fixed_size", "; Occupancy")
    }  # fmt: skip
    return Resources(
        warps, of[".vgpr_count"], kernel.metadata.shared,
        (of[".vgpr_spill_count"], of[".sgpr_spill_count"]),
        of[".private_segment_fixed_size"], of["; Occupancy"] * SIMDS // warps,
    )  # fmt: skip


def numbers(pattern: str, text: str) -> list[int]:
    found = re.findall(pattern, text)
    assert found, f"the compiler's report has no {pattern}: {text}"
    return [int(number) for number in found]


def main() -> None:
    options = arguments()
    rows, every = [], []
    for arch in options.archs:
        for width in map(int, options.widths):
            for kind in options.kinds:
                for dtype in options.dtypes:
                    found = resources(arch, compiled(arch, width, dtype, kind))
                    rows.append([arch, str(width), dtype, kind, *found.cells()])
                    every.append(found)
    print(table(["arch", "width", "dtype", "pattern", *(f.name for f in fields(Resources))], rows))
    spilled = sum(any(found.spilled) for found in every)
    registers, blocks = max(f.registers for f in every), min(f.blocks for f in every)
    print(
        f"\n{spilled} of {len(every)} spill; at most {registers} registers; {blocks} blocks or more"
    )


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = {"archs": ARCHS, "widths": WIDTHS, "dtypes": tuple(DTYPES), "kinds": KINDS}
    for name, default in choices.items():
        parser.add_argument(
            f"--{name}", type=lambda text: text.split(","), default=default,
            help=f"default: {','.join(map(str, default))}",
        )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    main()
