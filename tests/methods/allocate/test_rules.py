"""A file of rules: what it accepts, which rule counts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsnot_exp.methods.allocate.file import FromFile
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.utils.errors import RequestError

LAYERS = [f"model.layers.{i}.{n}" for i in (0, 1, 10) for n in ("attn.q", "mlp.up", "mlp.down")]
HALF = Unstructured(0.5)


def allocate(folder: Path, text: str, most: float = 0.95) -> dict[str, Pattern]:
    path = folder / "rules.yaml"
    path.write_text(text)
    return FromFile(most=most, path=str(path))(LAYERS, HALF)


def test_the_last_glob_that_matches_counts(tmp_path: Path) -> None:
    found = allocate(
        tmp_path,
        '"*": 0.6\nmlp: 0\nmlp.down: .7\n"model.layers.1": 2:4\nmodel.layers.0.attn.q: 1:4\n',
    )
    assert list(found) == LAYERS
    assert found["model.layers.10.attn.q"] == Unstructured(0.6)  # 10 is not 1
    assert found["model.layers.0.mlp.up"] == Unstructured(0.0)
    assert found["model.layers.0.mlp.down"] == Unstructured(0.7)
    assert {found[layer] for layer in LAYERS[3:6]} == {NM(2, 4)}
    assert found["model.layers.0.attn.q"] == NM(1, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("attn: 0.5\n", "no line for model.layers.0.mlp.up and 5 more layers; add one"),
        ('"*": 0.5\nmpl: 0.6\n', "mpl matches no layer; choose from attn.q, mlp.down, mlp.up"),
        ('"*": 1.5\n', "\\*=1.5: expected a fraction in \\[0, 0.95\\]"),
        ('"*": 0.96\n', "=0.96: expected a fraction in \\[0, 0.95\\]"),
        ('"*": -0.1\n', "=-0.1: expected a fraction"),
        ('"*": nan\n', "=nan: expected a fraction"),
        ('"*": half\n', "=half: expected a fraction"),
        ('"*": true\n', "=true: expected a fraction"),
        ('"*": 4:2\n', "=4:2: expected a fraction .* N:M, such as 2:4, with 0 < N < M"),
        ('"*": 1:32\n', "=1:32: expected a fraction"),
        ('"*": [0.5]\n', "a list or mapping: expected a fraction"),
        ('"*":\n', "=: expected a fraction"),
        ("mlp: 0.5\nmlp: 0.6\n", "mlp stands there twice"),
        ("- 0.5\n", "expected lines of a glob"),
        ("", "expected lines of a glob"),
        ("a: [\n", "not YAML"),
        ("\x00", "not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    text: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=rf"^allocate.path=.*rules.yaml: .*{told}") as refused:
        allocate(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"allocate.path is missing"):
        FromFile()(LAYERS, HALF)
    with pytest.raises(RequestError, match=r"no.yaml: cannot be read \(No such file"):
        FromFile(path=str(tmp_path / "no.yaml"))(LAYERS, HALF)
    with pytest.raises(RequestError, match="cannot be read"):
        FromFile(path=str(tmp_path))(LAYERS, HALF)
