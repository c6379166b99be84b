"""Reads a file of rules, which give every layer its sparsity or pattern. Needs no torch.

"*": 0.6                 # a glob of layers, by their name in the model or inside a block
mlp.down_proj: 0.5       # the last glob that matches a layer counts
model.layers.0: 2:4
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from dsnot_exp.methods.allocate.options import FileOptions
from dsnot_exp.methods.notation import N_OF_M, pruned_share, read_pattern
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.globs import matches

Amount = float | tuple[int, int]  # a sparsity, or N and M
KEY = "allocate.path"
IN_BLOCK = re.compile(r".*?\.\d+\.")  # the part of a layer's name up to its block's index


def read_rules(options: FileOptions) -> dict[str, Amount]:
    """The amount of each glob, in the order of the file. RequestError if it cannot be used."""
    if options.path is None:
        raise RequestError(f"{KEY} is missing: name a YAML file that gives every layer a sparsity")
    place = f"{KEY}={options.path}"
    try:
        node = yaml.compose(Path(options.path).expanduser().read_text("utf-8"), yaml.BaseLoader)
    except OSError as error:
        raise RequestError(f"{place}: cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(f"{place}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise RequestError(
            f'{place}: expected lines of a glob of layers and a sparsity or N:M, such as "mlp: 0.6"'
        )
    rules: dict[str, Amount] = {}
    for key, value in node.value:
        if key.value in rules:
            raise RequestError(f"{place}: {key.value} stands there twice; remove one")
        rules[str(key.value)] = _amount(f"{place}: {key.value}", value, options.most)
    return rules


def _amount(where: str, node: yaml.Node, most: float) -> Amount:
    """`2:4` and numbers are read here: YAML takes 2:4 for a number to the base of 60."""
    text = str(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
    wanted = f"expected a fraction in [0, {most:g}] (allocate.most), or N:M, such as 2:4"
    try:
        amount: Amount = read_pattern(text, None) if N_OF_M.fullmatch(text) else float(text)
    except ValueError:
        raise RequestError(f"{where}={text}: {wanted}") from None
    except RequestError as error:
        raise RequestError(f"{where}={text}: {wanted}, with 0 < N < M") from error
    if not 0 <= (pruned_share(*amount) if isinstance(amount, tuple) else amount) <= most:
        raise RequestError(f"{where}={text}: {wanted}")
    return amount


def assigned(rules: dict[str, Amount], layers: Iterable[str], path: str) -> dict[str, Amount]:
    """The amount of each layer. RequestError for a glob that matches none, and for a layer that no
    glob matches."""
    found, used, names = dict[str, Amount](), set[str](), list(layers)
    for layer in names:
        inner = IN_BLOCK.sub("", layer, count=1)
        fits = [glob for glob in rules if matches(layer, glob) or matches(inner, glob)]
        used.update(fits)
        if fits:
            found[layer] = rules[fits[-1]]
    for glob in rules:
        if glob not in used:
            shown = sorted({IN_BLOCK.sub("", layer, count=1) for layer in names})
            kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in shown})
            raise RequestError(
                f"{KEY}={path}: {glob} matches no layer; choose from {', '.join(kinds)}"
            )
    absent = [layer for layer in names if layer not in found]
    if absent:
        more = f" and {len(absent) - 1} more layers" if len(absent) > 1 else ""
        raise RequestError(
            f'{KEY}={path}: no line for {absent[0]}{more}; add one, such as "*": 0.5 at the top'
        )
    return found
