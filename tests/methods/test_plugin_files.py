"""A file of methods: what is read, what identifies it, and what is refused, in one line each."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsnot_exp.methods import registry
from dsnot_exp.methods.plugins import known
from dsnot_exp.methods.plugins.conformity import refuse_unless_conforming
from dsnot_exp.utils.errors import RequestError
from tests.docs.check_docs import examples

GOOD = examples()["my_methods.py"]
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file beside the others, and name it as it is typed in their folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def written(text: str = GOOD, name: str = "mine.py") -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
        return name

    yield written
    registry.use_files([], anew=True)


def use(*files: str) -> None:
    registry.use_files(files, anew=True)


def refused(*files: str) -> str:
    with pytest.raises(RequestError) as error:
        use(*files)
    return str(error.value)


def identity(name: str = "powered") -> str:
    source = registry.plugin("prune", name)
    assert source is not None
    return source.identity


def test_the_methods_of_a_file_are_choices_until_another_command(write: Write) -> None:
    use(write())
    assert registry.names("prune")[-1] == "powered"
    assert registry.options("prune", "powered") == {"power": 0.5}
    assert registry.method("prune", "powered").__name__ == "Powered"
    use()
    assert "powered" not in registry.names("prune")
    with pytest.raises(RequestError, match="prune=powered: choose from"):
        registry.method("prune", "powered")


def test_the_content_identifies_a_file_and_the_path_does_not(write: Write) -> None:
    use(write())
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    assert identity() == f"sha256:{digest}"
    assert registry.plugin("prune", "powered").record() == {"file": "mine.py", "sha256": digest}  # type: ignore[union-attr]
    use(write(name="elsewhere/other.py"))
    assert identity() == f"sha256:{digest}"
    use(write(GOOD + "# edited"))
    assert identity() != f"sha256:{digest}"


def test_a_file_is_read_once_per_command(write: Write) -> None:
    """Or else another source would be executed than the one in the hash of the run."""
    use(write())
    before = identity()
    write(GOOD.replace("0.5", "0.7"))
    registry.use_files(["mine.py"])
    assert (identity(), registry.options("prune", "powered")["power"]) == (before, 0.5)
    use("mine.py")
    assert (identity() == before, registry.options("prune", "powered")["power"]) == (False, 0.7)


@pytest.mark.parametrize("place", ["helper.py", "helper/__init__.py", "helper/deep/er.py"])
@pytest.mark.parametrize("inside", [False, True], ids=["at the top", "in a function"])
def test_modules_beside_the_file_count_where_it_imports_them(
    place: str, inside: bool, write: Write
) -> None:
    module = place.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    line = f"def later():\n    import {module}\n" if inside else f"import {module}\n"
    write("POWER = 1\n", place)
    write("raise RuntimeError('not imported')\n", "another.py")
    write(line + GOOD)
    use("mine.py")
    before = identity()
    assert list(registry.plugin("prune", "powered").record()["imports"]) == [module]  # type: ignore[union-attr]
    write("# edited\n", "another.py")
    use("mine.py")
    assert identity() == before
    write("POWER = 2\n", place)
    use("mine.py")
    assert identity() != before
    if not inside:
        assert sys.modules[module].POWER == 2


def test_a_module_that_would_be_taken_from_elsewhere_is_refused(write: Write) -> None:
    write("POWER = 1\n", "a/helper_of_both.py")
    write("POWER = 2\n", "b/helper_of_both.py")
    files = [
        write(f"import helper_of_both\n{GOOD.replace('powered', n)}", f"{n}/x.py") for n in "ab"
    ]
    line = refused(*files)
    assert line.startswith("plugins=b/x.py: imports helper_of_both, which lies beside it, but")


def test_two_files_and_two_groups(write: Write) -> None:
    refiner = GOOD.replace("prune=powered", "reconstruct=powered")
    refiner = refiner.replace(
        "weight, statistics, pattern, equal", "dense, sparse, mask, statistics"
    )
    refiner = refiner.replace("statistics_rows", "statistics")
    use(write(), write(refiner, "other.py"))
    assert registry.names("reconstruct")[-1] == registry.names("prune")[-1] == "powered"
    assert registry.method("reconstruct", "powered") is not registry.method("prune", "powered")


def test_an_option_without_a_default_has_to_be_given(write: Write) -> None:
    use(write(GOOD.replace("power: float = 0.5", "power: float")))
    assert registry.options("prune", "powered") == {"power": "???"}


CASES = {
    "def (": "invalid syntax in line 1 of mine.py",
    "x = 1": 'has no METHODS; end the file with METHODS = {"prune=mine": Mine}',
    "METHODS = []": "METHODS is no dictionary of classes",
    "METHODS = {}": "METHODS is no dictionary of classes",
    "\nimport no_such_module": "cannot be imported in line 2: ModuleNotFoundError: No module named",
    "raise SystemExit('usage')": "cannot be imported in line 1: SystemExit: usage",
    GOOD.replace('"prune=', '"prun='): "there is no group 'prun'; choose from allocate, prune, ref",
    GOOD.replace('"prune=powered"', '"powered"'): "METHODS names 'powered'; write GROUP=NAME",
    GOOD.replace('"prune=powered"', "3"): "METHODS names 3; write GROUP=NAME",
    GOOD.replace(
        '"prune=powered"', '"prune=a,b"'
    ): "METHODS names prune=a,b; choose a name of lett",
    GOOD.replace('"prune=powered"', '"prune=none"'): "METHODS names prune=none; choose a name",
    GOOD.replace(
        '"prune=powered"', '"prune=wanda"'
    ): "dsnot_exp has prune=wanda already; choose an",
}


@pytest.mark.parametrize(("text", "line"), CASES.items(), ids=range(len(CASES)))
def test_a_file_that_cannot_be_used_says_why(text: str, line: str, write: Write) -> None:
    found = refused(write(text))
    assert found.startswith("plugins=mine.py: ")
    assert line in found
    assert "\n" not in found


def test_a_name_that_two_files_have_is_refused(write: Write) -> None:
    line = refused(write(), write(GOOD, "other.py"))
    assert line == "plugins=other.py: mine.py has prune=powered already; choose another name"
    use("mine.py", "mine.py")  # the same file twice is one


@pytest.mark.parametrize("name", ["none.py", "folder.py", "text.txt"])
def test_what_is_no_python_file_is_refused(name: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    write("", "text.txt")
    assert refused(name).startswith(f"plugins={name}: no")


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, own in registry.OURS.items() for name in own]
)
def test_every_method_of_ours_conforms(group: str, name: str) -> None:
    refuse_unless_conforming("ours", group, registry.method(group, name))


HEAD = GOOD.partition("@dataclass")[0] + "from dataclasses import field\n"
DECORATED = "@dataclass(frozen=True)\nclass Mine:\n"
NEEDS = "    needs: ClassVar[Needs] = frozenset({Statistic.NORM})\n"
ROWS = '    rows: ClassVar[Rows] = "independent"\n'
SKIP = "    skip: list[str] = field(default_factory=list)\n"
CALL = "    def __call__(self, weight, statistics, pattern, equal_rows): ...\n"
PRUNER = NEEDS + ROWS + CALL
BAD = {
    "no dataclass": ("prune", "class Mine:\n" + PRUNER, "is not a dataclass; write @dataclass(fro"),
    "no class": ("prune", "Mine = 3\n", "3 is not a dataclass; write @dataclass(frozen=True)"),
    "not frozen": ("prune", "@dataclass\nclass Mine:\n" + PRUNER, "could be changed while it runs"),
    "inherited": (
        "prune",
        "from dsnot_exp.methods.prune.wanda import Wanda\nclass Mine(Wanda):\n    a: int = 1\n",
        "is not a dataclass by itself, so what it adds to Wanda would be no options",
    ),
    "no needs": ("prune", DECORATED + ROWS + CALL, "has no needs; a Pruner has needs: ClassVar["),
    "no rows": ("prune", DECORATED + NEEDS + CALL, 'has no rows; a Pruner has rows: ClassVar'),
    "no call": (
        "prune",
        DECORATED + NEEDS + ROWS,
        "has no __call__; a Pruner has __call__(self, weight, statistics, pattern, equal_rows)",
    ),
    "few arguments": (
        "prune",
        DECORATED + NEEDS + ROWS + "    def __call__(self, weight): ...\n",
        "__call__(self, weight) does not fit (too many positional arguments); a Pruner has",
    ),
    "more arguments": (
        "prune",
        DECORATED + NEEDS + ROWS + CALL.replace("equal_rows", "equal_rows, more"),
        "does not fit (missing a required argument: 'more')",
    ),
    "unknown needs": (
        "prune",
        DECORATED + NEEDS.replace("Statistic.NORM", "'norm'") + ROWS + CALL,
        "needs 'norm', which is not collected; choose from Statistic.MEAN",
    ),
    "one need": (
        "prune",
        DECORATED + NEEDS.replace("frozenset({Statistic.NORM})", "Statistic.NORM") + ROWS + CALL,
        "needs is no frozenset",
    ),
    "unknown rows": (
        "prune",
        DECORATED + NEEDS + ROWS.replace("independent", "each") + CALL,
        "rows is 'each'; choose from independent, together",
    ),
    "rows as an option": (
        "prune",
        DECORATED + NEEDS + '    rows: str = "independent"\n' + CALL,
        "rows is an option; write rows: ClassVar[Rows]",
    ),
    "an option called name": (
        "prune", DECORATED + '    name: str = "a"\n' + PRUNER, "name cannot be an option",
    ),
    "an option of another type": (
        "prune", DECORATED + "    a: complex = 1j\n" + PRUNER, "its options cannot be typed (",
    ),
    "a mutable default": (
        "prune", DECORATED + "    a: list[int] = []\n" + PRUNER, "use default_factory",
    ),
    "its own defaults": (
        "prune",
        DECORATED + PRUNER + "    def __post_init__(self): raise ValueError('bad')\n",
        "fails with its own defaults (bad)",
    ),
    "a refiner without skip": (
        "refine",
        DECORATED + NEEDS + ROWS + "    def __call__(self, w, i, s, p, g): ...\n",
        "has no skip; a Refiner has skip: list[str] = field(default_factory=list)",
    ),
    "a refiner like a pruner": (
        "refine", DECORATED + NEEDS + ROWS + SKIP + CALL, "a Refiner has __call__(self, weight",
    ),
    "a surveyor without allocate": (
        "allocate",
        DECORATED + NEEDS + "    gradients: ClassVar[int] = 0\n    def survey(self, layers): ...\n",
        "has no allocate; a Surveyor has allocate(self, surveyed, sites, pattern)",
    ),
    "an allocator": ("allocate", DECORATED + CALL, "an Allocator has __call__(self, layers, patt"),
    "a searcher": (
        "allocate", DECORATED + "    def search(self, *given): ...\n", "no samples; a Searcher",
    ),
    "a reconstructor": (
        "reconstruct", DECORATED + PRUNER.replace(", equal_rows", ""), "a Reconstructor has __",
    ),
    "a trainer of blocks": (
        "reconstruct", DECORATED + "    def train_block(self): ...\n", "a BlockReconstructor has",
    ),
    "a fine-tuner": (
        "finetune", DECORATED + CALL, "has no dataset; a Finetuner has dataset",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("group", "text", "line"), BAD.values(), ids=BAD)
def test_a_class_that_breaks_its_protocol_is_refused(
    group: str, text: str, line: str, write: Write
) -> None:
    found = refused(write(f'{HEAD}\n\n{text}\n\nMETHODS = {{"{group}=mine": Mine}}\n'))
    assert found.startswith("plugins=mine.py: ")
    assert line in found
    assert "\n" not in found
    assert known.used_files() == []
