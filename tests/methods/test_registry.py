"""Plug-ins: what another package installs as an entry point is a method by its name."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore

from dsnot_exp.config import CalibConfig, Config, EvalConfig, ModelConfig
from dsnot_exp.launch.hydra_setup import register, register_methods
from dsnot_exp.methods import registry
from dsnot_exp.methods.plugins import known
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.run.build_method import build
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.plan import make_plan
from dsnot_exp.utils.errors import RequestError
from tests.support.command import Command, toy_arguments

METHOD = """
from dataclasses import dataclass
from typing import ClassVar

from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.statistics import Statistic


@dataclass(frozen=True)
class Powered:
    '''Wanda with a power of the norm.'''

    needs: ClassVar = {needs}
    rows: ClassVar = "independent"
    alpha: float = 1.0

    def __call__(self, weight, statistics, pattern, equal_rows):
        scores = weight.abs().float() * statistics.norm**self.alpha
        return Initial(pattern.mask(scores), weight, scores)
"""
OURS = ["magnitude", "wanda", "sparsegpt", "ria", "alps"]
NEEDS = "frozenset({Statistic.NORM})"
Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _known_plugins() -> Iterator[None]:
    """Plug-ins are looked up once per process."""
    known.installed.cache_clear()
    yield
    known.installed.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution `powered` with one module, as pip would leave it on sys.path."""

    def installed(
        code: str = METHOD.replace("{needs}", NEEDS),
        version: str = "1.0",
        names: tuple[str, ...] = ("prune.powered",),
        value: str = "powered_plugin:Powered",
    ) -> None:
        place = tmp_path / f"site-{version}"
        about = place / f"powered-{version}.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        (about / "METADATA").write_text(f"Name: powered\nVersion: {version}\n")
        points = [name.split(".") for name in names]
        told = "".join(f"[dsnot_exp.{group}]\n{name} = {value}\n" for group, name in points)
        (about / "entry_points.txt").write_text(told)
        (place / "powered_plugin.py").write_text(code)
        monkeypatch.syspath_prepend(str(place))
        monkeypatch.delitem(sys.modules, "powered_plugin", raising=False)
        importlib.invalidate_caches()
        known.installed.cache_clear()

    yield installed
    sys.modules.pop("powered_plugin", None)


def configured(prune: dict[str, Any]) -> Config:
    return Config(
        model=ModelConfig(name="tinyworld"),
        prune=prune,
        refine={"name": "none"},
        allocate={"name": "uniform"},
        reconstruct={"name": "none"},
        calib=CalibConfig(dataset="tinyworld"),
        eval=EvalConfig(name="none"),
    )


def identity(prune: dict[str, Any]) -> str:
    return config_hash(make_plan(configured(prune)))


def test_a_plugin_is_a_method_and_its_fields_are_options(install: Install) -> None:
    assert registry.names("prune") == OURS
    install()
    assert registry.names("prune") == [*OURS, "powered"]
    assert registry.options("prune", "powered") == {"alpha": 1.0}
    built = build("prune", {"name": "powered", "alpha": 2})
    assert (type(built), built.alpha) == (registry.method("prune", "powered"), 2.0)
    for options, words in (({"beta": 1}, "beta"), ({"alpha": "much"}, "much")):
        with pytest.raises(RequestError, match=words):
            build("prune", {"name": "powered", **options})


def test_a_plugin_belongs_to_its_group(install: Install) -> None:
    install(names=("prune.powered", "reconstruct.other"))
    assert registry.names("reconstruct") == ["none", "cg", "admm", "lstsq", "block", "other"]
    with pytest.raises(RequestError, match="refine=powered"):
        registry.method("refine", "powered")


def test_plugins_come_after_ours_and_in_order(install: Install) -> None:
    install(names=("prune.zeta", "prune.alpha"))
    assert registry.names("prune")[-2:] == ["alpha", "zeta"]


def test_our_own_names_are_ours(install: Install) -> None:
    """A plug-in cannot take one: results would not say that it was used."""
    own = registry.method("prune", "wanda")
    install(names=("prune.wanda",))
    assert registry.method("prune", "wanda") is own
    assert registry.names("prune") == OURS
    assert registry.plugin("prune", "wanda") is None


@pytest.mark.parametrize(
    ("group", "choices"),
    [
        ("prune", "magnitude, wanda, sparsegpt, ria, alps, powered, none"),
        ("refine", "dsnot, dsnot_official, swaps, moments, none"),
        ("allocate", "uniform, fisher, owl, alpha, linear, search, file"),
        ("reconstruct", "none, cg, admm, lstsq, block"),
        ("finetune", "lora, none"),
    ],
)
def test_an_unknown_name_is_refused_with_all_that_there_are(
    group: str, choices: str, install: Install
) -> None:
    install()
    with pytest.raises(RequestError, match=rf"^{group}=moon: choose from {choices}$"):
        registry.method(group, "moon")


@pytest.mark.parametrize(
    "needs", ["frozenset({'norm'})", "frozenset({Statistic.NORM, 'gram'})", "{'Gram'}", "('mean',)"]
)
def test_a_statistic_that_is_not_one_is_refused(needs: str, install: Install) -> None:
    install(METHOD.replace("{needs}", needs))
    with pytest.raises(RequestError, match=r"^prune=powered: .*Statistic\.NORM"):
        registry.method("prune", "powered")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "no_such_module"),
        ("raise RuntimeError('first\\nsecond')", "first"),
        ("raise RuntimeError", "RuntimeError"),
        ("def Powered(: pass", "invalid syntax"),
        ("Other = 1", "Powered"),
    ],
)
def test_a_plugin_that_fails_on_import_is_named(code: str, reason: str, install: Install) -> None:
    install(code)
    with pytest.raises(RequestError) as refused:
        registry.method("prune", "powered")
    for words in ("prune=powered", "powered_plugin:Powered", reason):
        assert words in str(refused.value)
    assert "second" not in str(refused.value)


@pytest.mark.parametrize(
    "code",
    [
        "class Powered: pass",
        "def Powered(): pass",
        METHOD.replace("{needs}", NEEDS) + "\nPowered = Powered()",
    ],
    ids=["a class", "a function", "an instance"],
)
def test_a_plugin_that_is_no_dataclass_is_refused(code: str, install: Install) -> None:
    install(code)
    with pytest.raises(RequestError, match=r"^prune=powered: .*powered_plugin:Powered"):
        registry.method("prune", "powered")


def test_the_version_of_a_plugin_counts_in_a_runs_hash(install: Install) -> None:
    ours = identity({"name": "wanda"})
    install()
    assert registry.plugin("prune", "powered").identity == "powered 1.0"
    first = identity({"name": "powered"})
    assert identity({"name": "powered"}) == first
    install(version="1.1")
    assert registry.plugin("prune", "powered").identity == "powered 1.1"
    assert identity({"name": "powered"}) != first
    assert identity({"name": "wanda"}) == ours  # it is installed, and not used
    assert registry.plugin("prune", "moon") is None


@pytest.mark.parametrize("group", ["allocate", "prune", "refine", "reconstruct", "finetune"])
def test_a_plugin_of_every_group_counts(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is used for: here each of our methods comes from a package of its own."""
    options = {"name": "lora", "dataset": "tinyworld"}
    config = configured({"name": "wanda"})
    config.refine, config.finetune = {"name": "dsnot"}, options
    plan = make_plan(config)
    hashes = set()
    for version in ("1", "2"):
        monkeypatch.setattr(
            registry,
            "plugin",
            lambda g, name, v=version: SimpleNamespace(identity=f"p {v}") if g == group else None,
        )
        hashes.add(config_hash(plan))
    assert len(hashes) == 2


def test_options_are_the_defaults_of_the_dataclass() -> None:
    assert registry.options("prune", "wanda") == {}
    assert registry.options("prune", "magnitude") == {"scope": "auto"}
    found = registry.options("refine", "dsnot_official")
    assert {name: getattr(DSnoT(), name) for name in found} == found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ConfigStore:
    """Hydra's store of configurations, which this test may add to."""
    register()  # once per process: what it adds must stay
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    return store


def test_a_plugin_runs_from_the_command_line(
    install: Install, store: ConfigStore, command: Command, tmp_path: Path
) -> None:
    install()
    register_methods()  # as every process does when it starts
    words = [*toy_arguments(tmp_path), "refine=none"]
    wanda = command(*words, "prune=wanda", run="wanda").result
    found = {}
    for alpha in ("1", "2"):
        done = command(*words, "prune=powered", f"prune.alpha={alpha}", run=alpha)
        assert done.code == 0, done.err
        found[alpha] = done.result
        assert done.result["config"]["prune"] == {"name": "powered", "alpha": float(alpha)}
    assert found["1"]["masks_sha256"] == wanda["masks_sha256"] != found["2"]["masks_sha256"]
    hashes = {result["config_hash"] for result in (wanda, *found.values())}
    assert len(hashes) == 3
    refused = command(*words, "prune=powered", "prune.beta=1", run="beta")
    assert (refused.code, "beta" in refused.err) == (2, True)


def test_a_broken_plugin_breaks_nothing_until_it_is_asked_for(
    install: Install, store: ConfigStore, command: Command, tmp_path: Path
) -> None:
    install("import no_such_module")
    register_methods()
    words = [*toy_arguments(tmp_path), "refine=none"]
    assert command(*words, "prune=magnitude", run="a").code == 0
    refused = command(*words, "prune=powered", run="b")
    assert refused.code == 2
    assert "powered_plugin:Powered" in refused.err
    assert refused.err.count("\n") == 1
