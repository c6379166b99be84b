"""The papers' data sets as repositories of a hub: the files, columns and cards of the real ones,
text of our own.

hub = Hub(repositories(folder))
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from datasets import Value

from dsnot_exp.tinyworld.language import stories
from tests.support.data_files import card, parquet, repository, write
from tests.support.hub_server import Repository
from tests.support.zero_shot_repositories import (
    PEOPLE,
    PLACES,
    ai2_arc,
    glue,
    hellaswag,
    openbookqa,
    super_glue,
    winogrande,
)

TEXT = Value("string")
SPLITS = ("train", "validation", "test")
CONVERTED = "refs/convert/parquet"  # where the hub keeps its own conversion of a script


def wikitext(place: Path) -> list[Repository]:
    """Articles line by line, with titles and with empty lines around them."""

    def lines(split: str) -> Iterator[str]:
        for number, story in enumerate(stories(split, 200)):
            if number % 5 == 0:
                yield from ("", f" = {PLACES[number % 4].title()} {number} = \n", "")
            elif number % 5 == 3:
                yield from ("", f" = = {PEOPLE[number % 7].title()} = = \n", "")
            yield f" {story} \n"

    parts = {split: [{"text": line} for line in lines(split)] for split in SPLITS}
    parquet(place, {"text": TEXT}, {"wikitext-2-raw-v1": parts})
    return [repository("Salesforce/wikitext", place)]


def c4(place: Path) -> list[Repository]:
    """One shard of each split: single stories, the beginnings of some, and long documents."""
    (place / "en").mkdir(parents=True)
    for split, shards in (("train", 1024), ("validation", 8)):
        told, lines = iter(stories(split, 2100)), ""
        for number in range(1200):
            text = "\n".join(next(told) for _ in range(7 if number % 8 == 0 else 1))
            row = {
                "text": text[:150].rpartition(" ")[0] if number % 8 == 1 else text,
                "timestamp": f"2019-04-{number % 28 + 1:02}T12:57:54Z",
                "url": f"https://example.org/{split}/{number}",
            }
            lines += json.dumps(row) + "\n"
        file = place / f"en/c4-{split}.00000-of-{shards:05}.json.gz"
        file.write_bytes(gzip.compress(lines.encode(), mtime=0))
    # As in the real card, every shard is counted: "en" cannot be loaded from these two.
    counts = {"train": 364868892, "validation": 364608}
    features = dict.fromkeys(("text", "timestamp", "url"), TEXT)
    names = ("en", "en.noblocklist", "realnewslike")
    paths = {name: {split: f"{name}/c4-{split}.*.json.gz" for split in counts} for name in names}
    card(place, features, dict.fromkeys(names, counts), paths)
    return [repository("allenai/c4", place)]


def ptb(place: Path) -> list[Repository]:
    """Sentences with rare words left out: a script, and its conversion, which has no card."""
    counts, converted = {}, place / "converted"
    for split in SPLITS:
        text = " ".join(stories(split, 200)).replace("four", "N").replace("tavern", "<unk>")
        rows = [{"sentence": line} for line in text.removesuffix(" .").split(" . ")]
        counts[split] = len(rows)
        write(converted / "penn_treebank" / split / "0000.parquet", {"sentence": TEXT}, rows)
    script = place / "script"
    script.mkdir()
    (script / "ptb_text_only.py").write_text('raise SystemExit("executed")\n')
    card(script, {"sentence": TEXT}, {"penn_treebank": counts}, {})
    id = "ptb-text-only/ptb_text_only"
    return [repository(id, script), repository(id, converted, CONVERTED)]


REPOSITORIES: dict[str, Callable[[Path], list[Repository]]] = {
    function.__name__: function
    for function in (
        wikitext, c4, ptb, super_glue, glue, hellaswag, winogrande, ai2_arc, openbookqa,
    )
}  # fmt: skip


def repositories(place: Path) -> list[Repository]:
    """All of them, each in a folder of its own."""
    return [one for name, build in REPOSITORIES.items() for one in build(place / name)]
