"""The data sets of tests.data_repositories through the libraries that read the real ones."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.data_repositories import CONVERTED, repositories
from tests.support.hub_server import Hub

Rows = list[dict[str, Any]]
WIKITEXT = ("Salesforce/wikitext", "wikitext-2-raw-v1")
WIKITEXT_TEST = "wikitext/wikitext-2-raw-v1/test-00000-of-00001.parquet"
PTB = "ptb-text-only/ptb_text_only"
C4 = {
    "train": "en/c4-train.00000-of-01024.json.gz",
    "validation": "en/c4-validation.00000-of-00008.json.gz",
}
# task: lm-eval's folder, the rows that it evaluates on, what it shows of them, choices of each
TASKS = {
    "boolq": ("super_glue/boolq", "super_glue/boolq/validation", "passage", 2),
    "rte": ("glue/rte", "glue/rte/validation", "sentence1", 2),
    "hellaswag": ("hellaswag", "hellaswag/data/validation", "ctx_a", 4),
    "winogrande": ("winogrande", "winogrande/winogrande_xl/validation", "sentence", 2),
    "arc_easy": ("arc", "ai2_arc/ARC-Easy/test", "question", 4),
    "arc_challenge": ("arc", "ai2_arc/ARC-Challenge/test", "question", 4),
    "openbookqa": ("openbookqa", "openbookqa/main/test", "question_stem", 4),
}
# The libraries, which import slowly and settle the hub and the cache then: calls in, answers out.
CLIENT = """
import json, os, sys
from pathlib import Path
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import lm_eval.tasks
from datasets import load_dataset
from huggingface_hub import hf_hub_download

def load(*arguments, **options):
    return list(load_dataset(*arguments, **options))

def prompts(folders):
    include = [Path(lm_eval.tasks.__file__).parent / folder for folder in folders.values()]
    manager = lm_eval.tasks.TaskManager(include_path=include, include_defaults=False)
    tasks = manager.load(list(folders))["tasks"]
    for task in tasks.values():
        task.build_all_requests()
    return {name: [one.arguments for one in task.instances] for name, task in tasks.items()}

for line in sys.stdin:
    name, arguments, options = json.loads(line)
    try:
        answer = {"answer": globals()[name](*arguments, **options)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=lambda time: f"{time.isoformat()}Z"), file=answers, flush=True)
"""


class Client:
    """One process with a hub and a cache."""

    def __init__(self, hub: Hub, cache: Path, offline: bool = False) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": f"{cache}", "HF_HUB_OFFLINE": str(int(offline))}
        # The count of loads and the viewer's statistics lie on other servers.
        calm = {"HF_UPDATE_DOWNLOAD_COUNTS": "0", "NO_PROXY": "*", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env=kept | own | calm,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self, function: str, *arguments: object, **options: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps((function, arguments, options)), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def __call__(self, function: str, *arguments: object, **options: object) -> Any:
        answer = self.answer(function, *arguments, **options)
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def refuses(self, word: str, *arguments: object, **options: object) -> None:
        assert word in self.answer("load", *arguments, **options)["error"]

    def file(self, id: str, name: str, **options: object) -> str:
        return self("hf_hub_download", id, name, repo_type="dataset", **options)

    def close(self) -> None:
        self.process.communicate(timeout=300)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repositories")


@pytest.fixture(scope="module")
def written(hub: Hub, place: Path) -> Callable[[str], Rows]:
    """The rows of a file of the repositories."""

    def rows(name: str) -> Rows:
        if not name.endswith(".gz"):
            return pq.read_table(place / name).to_pylist()
        with gzip.open(place / name, "rt") as file:
            return [json.loads(line) for line in file]

    return rows


@pytest.fixture(scope="module")
def hub(place: Path) -> Iterator[Hub]:
    """All of them, and a branch of wikitext with another test split of the same length."""
    served = repositories(place)
    swapped = shutil.copytree(place / "wikitext", place / "swapped")
    test = swapped / "wikitext-2-raw-v1" / "test-00000-of-00001.parquet"
    shutil.copy(test.with_name("validation-00000-of-00001.parquet"), test)
    branch = replace(served[0], folder=swapped, commit="b" * 40, names=("swapped",))
    hub = Hub([*served, branch])
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(hub, tmp_path_factory.mktemp("warm"))
    yield client
    client.close()


def test_wikitext(client: Client, written: Callable[[str], Rows]) -> None:
    assert client("load", *WIKITEXT, split="test") == written(WIKITEXT_TEST)
    lines = [row["text"] for row in written(WIKITEXT_TEST)]
    assert "" in lines
    assert " = Kitchen 0 = \n" in lines


@pytest.mark.parametrize("split", C4)
def test_c4(client: Client, written: Callable[[str], Rows], split: str) -> None:
    rows = client("load", "allenai/c4", data_files={split: C4[split]}, split=split)
    assert rows == written(f"c4/{C4[split]}")
    assert len(rows) >= 1100
    words = [row["text"].count(" ") for row in rows]
    assert min(words) < 50 < 400 < max(words)


def test_ptb_only_as_it_was_converted(client: Client, written: Callable[[str], Rows]) -> None:
    client.refuses("scripts are no longer supported", PTB, "penn_treebank", split="test")
    # Without a card there are no names of configs.
    converted = {"revision": CONVERTED, "split": "test"}
    client.refuses("Available: ['default']", PTB, "penn_treebank", **converted)
    rows = client("load", PTB, **converted)
    assert rows == written("ptb/converted/penn_treebank/test/0000.parquet")


def test_revisions(hub: Hub, client: Client, written: Callable[[str], Rows]) -> None:
    (main, branch) = hub.commits["datasets", WIKITEXT[0]]
    for revision in (main.commit, "main"):
        rows = client("load", *WIKITEXT, split="test", revision=revision)
        assert rows == written(WIKITEXT_TEST)
    for revision in (branch.commit, "swapped"):
        rows = client("load", *WIKITEXT, split="test", revision=revision)
        assert rows == written(WIKITEXT_TEST.replace("test-", "validation-"))
    client.refuses("Revision 'v2' doesn't exist", *WIKITEXT, split="test", revision="v2")
    client.refuses("doesn't exist on the Hub", "acme/none", split="test")


def test_files_say_their_commit(hub: Hub, client: Client, place: Path) -> None:
    for revision, folder in (("main", "wikitext"), ("swapped", "swapped")):
        file = WIKITEXT_TEST.removeprefix("wikitext/")
        path = Path(client.file(WIKITEXT[0], file, revision=revision))
        commits = hub.commits["datasets", WIKITEXT[0]]
        assert path.parts[-3] in [one.commit for one in commits if revision in one.names]
        assert path.read_bytes() == (place / folder / file).read_bytes()
    path = Path(client.file(PTB, "penn_treebank/test/0000.parquet", revision=CONVERTED))
    assert path.parts[-4] == hub.commits["datasets", PTB][1].commit


def test_tasks(client: Client, written: Callable[[str], Rows]) -> None:
    _check_tasks(client, written)


def test_from_the_cache(hub: Hub, written: Callable[[str], Rows], tmp_path: Path) -> None:
    """What was loaded once loads again while there is no hub; a cold cache has nothing.

    Of c4 only the file does: offline, load_dataset does not find again what it loaded by
    data_files.
    """

    def load_all(client: Client) -> None:
        assert client("load", *WIKITEXT, split="test") == written(WIKITEXT_TEST)
        rows = client("load", PTB, split="test", revision=CONVERTED)
        assert rows == written("ptb/converted/penn_treebank/test/0000.parquet")
        assert client.file("allenai/c4", C4["train"]).endswith(f"{commit}/{C4['train']}")
        _check_tasks(client, written)

    commit = hub.commits["datasets", "allenai/c4"][0].commit
    online = Client(hub, tmp_path / "warm")
    offline = Client(hub, tmp_path / "warm", offline=True)
    cold = Client(hub, tmp_path / "cold", offline=True)
    load_all(online)
    hub.stop()
    try:
        online.file("allenai/c4", C4["train"])  # nobody has told this process
        load_all(offline)
        cold.refuses("Couldn't reach 'Salesforce/wikitext' on the Hub", *WIKITEXT, split="test")
        for client in (online, offline, cold):
            client.close()
    finally:
        hub.start()


def _check_tasks(client: Client, written: Callable[[str], Rows]) -> None:
    """Every choice of every row is asked for, in lm-eval's words."""
    built = client("prompts", {task: folder for task, (folder, *_) in TASKS.items()})
    assert set(built) == set(TASKS)
    for task, (_, file, column, choices) in TASKS.items():
        rows = written(f"{file}-00000-of-00001.parquet")
        shown = [row[column].partition(" _")[0] for row in rows for _ in range(choices)]
        assert len(built[task]) == len(shown), task
        pairs = zip(shown, built[task], strict=True)
        assert [text for text, (prompt, _) in pairs if text not in prompt] == [], task
