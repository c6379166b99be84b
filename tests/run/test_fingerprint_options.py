"""What counts in a run's hash and what does not, part by part."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf, open_dict

from dsnot_exp import __version__, tinyworld
from dsnot_exp.config import CalibConfig, Config, EvalConfig, ModelConfig
from dsnot_exp.models.source import Source
from dsnot_exp.run import content, fingerprint
from dsnot_exp.run.content import code_fingerprint, model_fingerprint
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.plan import make_plan
from dsnot_exp.run.run_id import run_id
from tests.support.runs import identity, wanda_dsnot

SIZE = 1 << 20  # of a weights file: much more than is read of it


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a model in a folder, which no test here loads."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(SIZE))
    (tmp_path / "calib.txt").write_text("some text")
    return wanda_dsnot(folder, tmp_path / "calib.txt")


@pytest.mark.parametrize("prune", ["wanda", "none"])
def test_another_version_of_the_package_is_another_run(
    prune: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, prune={"name": prune})
    before = identity(config)
    monkeypatch.setattr(fingerprint, "__version__", f"{__version__}.post1")
    assert identity(config) != before


@pytest.mark.parametrize("prune", ["wanda", "none"])
def test_another_kind_of_device_is_another_run_another_device_is_not(
    prune: str, config: Config
) -> None:
    plan = make_plan(replace(config, prune={"name": prune}))
    first, second = (
        config_hash(replace(plan, device=torch.device("cuda", index))) for index in (0, 1)
    )
    assert first == second
    assert config_hash(replace(plan, device=torch.device("cpu"))) != first


def folder_of(config: Config) -> Path:
    return Path(config.model.path or "")


@pytest.mark.parametrize(
    "place",
    [0, 4095, SIZE // 2, SIZE - 4096, SIZE - 1],
    ids=["first", "end of the head", "middle", "start of the tail", "last"],
)
def test_a_byte_of_the_weights_counts(place: int, config: Config) -> None:
    before, path = identity(config), folder_of(config) / "model.safetensors"
    # The middle lies between two pieces or in one: what was trained on differs everywhere.
    length = 1 << 15 if place == SIZE // 2 else 1
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\1" * length)
    assert path.stat().st_size == SIZE
    assert identity(config) != before


def test_every_stretch_of_the_weights_is_looked_at(config: Config) -> None:
    path = folder_of(config) / "model.safetensors"
    stretch = SIZE // 63
    seen = {identity(config)}
    for start in range(0, SIZE - stretch, stretch):
        path.write_bytes(bytes(start) + b"\1" * stretch + bytes(SIZE - start - stretch))
        seen.add(identity(config))
    assert len(seen) == 63 + 1


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, SIZE + 1])
def test_the_size_of_the_weights_counts(size: int, config: Config) -> None:
    before, path = identity(config), folder_of(config) / "model.safetensors"
    path.write_bytes(bytes(size))
    assert identity(config) != before


def rename(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")


def add_shard(folder: Path) -> None:
    (folder / "model-2.safetensors").write_bytes(b"")


def change_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"a": 1}')


def add_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize("change", [rename, add_shard, change_json, add_json])
def test_files_of_the_model_count(change: Callable[[Path], None], config: Config) -> None:
    before = identity(config)
    change(folder_of(config))
    assert identity(config) != before


def test_what_else_lies_in_the_folder_of_the_model_does_not_count(config: Config) -> None:
    before = identity(config)
    (folder_of(config) / "README.md").write_text("hello")
    assert identity(config) == before


@pytest.mark.parametrize("prune", ["wanda", "none"])
def test_the_content_of_files_counts_where_they_are_used(prune: str, config: Config) -> None:
    text, task = (Path(config.calib.dataset).with_name(name) for name in ("eval.txt", "task.yaml"))
    text.write_text("a")
    task.write_text("a")
    evaluation = EvalConfig(name="own", perplexity=[str(text)], tasks=[str(task)])
    config = replace(config, prune={"name": prune}, eval=evaluation)
    for path in (text, task):
        before = identity(config)
        path.write_text("b")
        assert identity(config) != before
    before = identity(config)
    Path(config.calib.dataset).write_text("b")
    assert (identity(config) != before) == (prune != "none")


def test_the_file_to_finetune_on_counts(config: Config, tmp_path: Path) -> None:
    text = tmp_path / "tune.txt"
    text.write_text("a")
    config = replace(config, finetune={"name": "lora", "dataset": str(text)})
    before = identity(config)
    text.write_text("b")
    assert identity(config) != before


UNUSED = [
    {"calib": CalibConfig(dataset="ptb")},
    {"calib": CalibConfig(dataset="c4", samples=7, batch_size=2, min_tokens=1)},
    {"refine": {"name": "none"}},
    {"refine": {"name": "dsnot", "max_cycles": 6}},
    {"pattern": "2:4"},
    {"sparsity": 0.7},
    {"relative_error": "false"},
]
USED: list[dict[str, Any]] = [
    {"model": {"dtype": "bfloat16"}},
    {"model": {"revision": "v2"}},
    {"model": {"dense": ["mlp"]}},
    {"eval": EvalConfig(name="ppl", seqlen=12)},
    {"eval": EvalConfig(name="ppl", perplexity=["ptb"])},
    {"eval": EvalConfig(name="ppl", limit=3)},
    {"eval": EvalConfig(name="ppl", blocks=3)},
    {"seed": 1},
]


def changed(config: Config, change: dict[str, Any]) -> Config:
    if "model" in change:
        change = {"model": replace(config.model, **change["model"])}
    return replace(config, **change)


@pytest.mark.parametrize("change", UNUSED, ids=str)
def test_where_nothing_is_pruned_how_to_prune_does_not_count(
    change: dict[str, Any], config: Config
) -> None:
    dense = replace(config, prune={"name": "none"})
    assert identity(changed(dense, change)) == identity(dense)
    assert identity(changed(config, change)) != identity(config)


@pytest.mark.parametrize("change", USED, ids=str)
@pytest.mark.parametrize("prune", ["wanda", "none"])
def test_the_model_the_evaluation_and_the_seed_always_count(
    change: dict[str, Any], prune: str, config: Config
) -> None:
    config = replace(config, prune={"name": prune})
    assert identity(changed(config, change)) != identity(config)


def test_the_length_of_evaluated_blocks_counts_wherever_it_is_given(config: Config) -> None:
    """eval.seqlen is calib.seqlen, unless it is given."""
    dense = replace(config, prune={"name": "none"})
    short, long = (replace(dense, calib=CalibConfig(seqlen=n)) for n in (12, 24))
    assert len({identity(dense), identity(short), identity(long)}) == 3
    given = EvalConfig(name="ppl", seqlen=12)
    assert identity(replace(dense, eval=given)) == identity(replace(long, eval=given))
    assert identity(replace(dense, eval=given)) == identity(short)


def test_where_nothing_is_pruned_there_is_one_sparsity(config: Config) -> None:
    """It is recorded as 0, and counts as what is recorded."""
    dense = make_plan(replace(config, prune={"name": "none"}, sparsity=0.6))
    assert dense.config.sparsity == 0
    assert config_hash(replace(dense, config=replace(dense.config, sparsity=0.6))) != (
        config_hash(dense)
    )


@pytest.mark.parametrize("prune", ["wanda", "none"])
@pytest.mark.parametrize(
    ("group", "option", "value"),
    [("model", "streaming", "true"), ("calib", "states", "disk")],
)
def test_where_things_are_kept_does_not_count(
    prune: str, group: str, option: str, value: str, config: Config
) -> None:
    config = replace(config, prune={"name": prune})
    other = replace(config, **{group: replace(getattr(config, group), **{option: value})})
    assert identity(other) == identity(config)


@pytest.mark.parametrize("prune", ["wanda", "none"])
@pytest.mark.parametrize(
    "change",
    [
        {"save": True}, {"rerun": True}, {"resume": "false"}, {"out": "elsewhere"},
        {"sweep": "other"}, {"device": "cpu"},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_result_does_not_depend_on_does_not_count(
    prune: str, change: dict[str, Any], config: Config
) -> None:
    config = replace(config, prune={"name": prune}, device="cpu")
    assert identity(replace(config, **change)) == identity(config)


def test_no_option_is_forgotten(config: Config) -> None:
    """Every option of the configuration is either named as without effect, or counts."""
    values: dict[str, Any] = {
        "model": replace(config.model, dtype="float16"), "prune": {"name": "magnitude"},
        "refine": {"name": "none"}, "allocate": {"name": "uniform", "more": 1},
        "reconstruct": {"name": "none", "more": 1},
        "finetune": {"name": "lora", "dataset": "c4"}, "calib": CalibConfig(dataset="ptb"),
        "eval": EvalConfig(name="ppl", limit=3), "sparsity": 0.3, "pattern": "2:4",
        "relative_error": "true", "seed": 3,
    }  # fmt: skip
    counted = {field.name for field in fields(Config)} - set(fingerprint.WITHOUT_EFFECT)
    assert counted == set(values)
    plan = make_plan(config)
    for name, value in values.items():
        if name == "finetune":
            other = make_plan(replace(config, finetune=value))
        else:
            other = replace(plan, config=replace(plan.config, **{name: value}))
        assert config_hash(other) != config_hash(plan), name


def test_an_unrefined_run_does_not_depend_on_a_refiners_options(config: Config) -> None:
    none = replace(config, refine={"name": "none"})
    with_more = replace(config, refine={"name": "none", "max_cycles": 3})
    assert identity(with_more) == identity(none) != identity(config)


def test_the_bundled_models_files_count_where_it_is_used(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setattr(tinyworld, "MODEL", bundled)
    own = replace(config, model=ModelConfig(name="tinyworld"))
    named = replace(config, model=replace(config.model, name="tinyworld"))
    nowhere = replace(config, model=ModelConfig(name="hub"))
    before = [identity(one) for one in (own, named, nowhere, config)]
    (bundled / "config.json").write_text("{}")
    after = [identity(one) for one in (own, named, nowhere, config)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True, True]


def test_a_model_of_the_hub_is_its_commit(tmp_path: Path) -> None:
    first, second = (Source("acme/model", revision=commit) for commit in ("a" * 40, "b" * 40))
    assert model_fingerprint(first) == f"acme/model@{'a' * 40}"
    assert model_fingerprint(second) != model_fingerprint(first)
    (tmp_path / "config.json").write_text("{}")
    local = model_fingerprint(Source(str(tmp_path)))
    (tmp_path / "config.json").write_text("[]")
    assert model_fingerprint(Source(str(tmp_path))) != local


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three sources and a file that is none."""
    root = tmp_path / "package"
    (root / "native").mkdir(parents=True)
    for name in ("a.py", "native/b.py", "native/c.c", "notes.txt"):
        (root / name).write_text("1")
    monkeypatch.setattr(content, "PACKAGE", root)
    return root


computed = code_fingerprint.__wrapped__  # what it does once per process


@pytest.mark.parametrize("name", ["a.py", "native/b.py", "native/c.c"])
def test_every_source_counts_in_the_code(name: str, package: Path) -> None:
    before = computed()
    assert computed() == before
    (package / name).write_text("2")
    assert computed() != before


def test_what_is_no_source_does_not_count_in_the_code(package: Path) -> None:
    before = computed()
    (package / "notes.txt").write_text("2")
    assert computed() == before


@pytest.mark.parametrize("name", ["torch", "transformers", "lm_eval"])
def test_the_version_of_what_it_computes_with_counts_in_the_code(
    name: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, version = computed(), content.version
    monkeypatch.setattr(
        content, "version", lambda package: "0" if package == name else version(package)
    )
    assert computed() != before


def test_the_sources_are_read_once_per_process(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, version = [], content.version
    monkeypatch.setattr(content, "version", lambda name: asked.append(name) or version(name))
    code_fingerprint.cache_clear()
    try:
        before = code_fingerprint()
        (package / "a.py").write_text("2")  # not the code that this process has loaded
        assert code_fingerprint() == before
    finally:
        code_fingerprint.cache_clear()
    assert asked == ["torch", "transformers", "lm_eval"]


def folder_name(config: Config, **hydra: object) -> str:
    composed = OmegaConf.structured(config)
    with open_dict(composed):
        composed.hydra = hydra
    found = run_id(composed)
    assert composed.hydra == hydra  # Hydra's own part is left alone
    return found


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "toy-wanda-0.5-dsnot"),
        ({"sparsity": 0.625}, "toy-wanda-0.625-dsnot"),
        ({"pattern": "2:4"}, "toy-wanda-2of4-dsnot"),
        ({"refine": {"name": "none"}}, "toy-wanda-0.5-none"),
        ({"prune": {"name": "none"}}, "toy-none"),
        ({"prune": {"name": "none"}, "pattern": "2:4"}, "toy-none"),
        ({"finetune": {"name": "lora", "dataset": "c4"}}, "toy-wanda-0.5-dsnot-lora"),
    ],
    ids=str,
)
def test_the_name_of_a_folder_says_what_is_done_and_ends_in_the_hash(
    change: dict[str, Any], name: str, config: Config
) -> None:
    config = replace(config, **change)
    assert folder_name(config, run=1) == f"{name}-{identity(config)[:8]}"


@pytest.mark.parametrize(
    ("name", "folder", "shown"),
    [
        ("local", "my model@2", "my_model_2"),
        ("hub", "llama-2.7b+x_y", "llama-2.7b+x_y"),
        ("llama-7b", "anything", "llama-7b"),
        ("local", None, "local"),
    ],
)
def test_the_model_is_named_by_its_folder_where_its_name_says_nothing(
    name: str, folder: str | None, shown: str, config: Config
) -> None:
    path = None if folder is None else str(folder_of(config).with_name(folder))
    named = replace(config, model=replace(config.model, name=name, path=path))
    assert folder_name(named).startswith(f"{shown}-wanda-0.5-dsnot-")


def test_a_link_to_a_model_is_named_after_what_it_leads_to(config: Config) -> None:
    link = folder_of(config).with_name("latest")
    link.symlink_to(folder_of(config))
    linked = replace(config, model=replace(config.model, path=str(link)))
    assert folder_name(linked).startswith("toy-wanda-")


def test_what_is_refused_has_a_folder_for_its_log(config: Config) -> None:
    first = replace(config, sparsity=1.5)
    name = folder_name(first)
    assert re.fullmatch(r"refused-[0-9a-f]{8}", name)
    assert folder_name(first, run=2) == name
    assert folder_name(replace(config, sparsity=1.6)) != name
