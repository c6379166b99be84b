"""The data sets of lm-eval's zero-shot tasks: the columns of the real ones, rows of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import ClassLabel, List, Value

from tests.support.data_files import Row, parquet, repository
from tests.support.hub_server import Repository

ITEMS = {"train": 24, "validation": 48, "test": 24}  # of every data set
PEOPLE = ("adam", "bella", "carl", "dora", "edgar", "flora", "gloria")
PLACES = ("kitchen", "garden", "tavern", "cave", "tunnel")
TEXT, NUMBER = Value("string"), Value("int32")
CHOICES = {"text": List(TEXT), "label": List(TEXT)}


def super_glue(place: Path) -> list[Repository]:
    features = {"question": TEXT, "passage": TEXT, "idx": NUMBER}
    features["label"] = ClassLabel(names=["False", "True"])

    def row(number: int, secret: bool) -> Row:
        who, where, told = _fact(number)
        question = f"is {who} in the {where[number % 2]}"
        label = -1 if secret else int(number % 2 == 0)
        return {"question": question, "passage": told, "idx": number, "label": label}

    return _task("aps/super_glue", place, features, row, "boolq")


def glue(place: Path) -> list[Repository]:
    features = {"sentence1": TEXT, "sentence2": TEXT}
    features |= {"label": ClassLabel(names=["entailment", "not_entailment"]), "idx": NUMBER}

    def row(number: int, secret: bool) -> Row:
        who, where, told = _fact(number)
        claim = f"{who} was in the {where[number % 2]} ."
        label = -1 if secret else number % 2
        return {"sentence1": told, "sentence2": claim, "label": label, "idx": number}

    return _task("nyu-mll/glue", place, features, row, "rte")


def hellaswag(place: Path) -> list[Repository]:
    shown = ("activity_label", "ctx_a", "ctx_b", "ctx")
    hidden = ("source_id", "split", "split_type", "label")
    features = {"ind": NUMBER, **dict.fromkeys(shown, TEXT), "endings": List(TEXT)}
    features |= dict.fromkeys(hidden, TEXT)

    def row(number: int, secret: bool) -> Row:
        who, where, told = _fact(number)
        answer = number % 4
        texts = ("[header] how to find people", told, who, f"{told} {who}")
        return {
            "ind": number,
            **dict(zip(shown, texts, strict=True)),
            "endings": [f"was in the {one} ." for one in _turned(where, answer)],
            "source_id": f"wikihow~{number}",
            "split": "test" if secret else "train",
            "split_type": "indomain",
            "label": "" if secret else str(answer),
        }

    return _task("Rowan/hellaswag", place, features, row, "default")


def winogrande(place: Path) -> list[Repository]:
    features = dict.fromkeys(("sentence", "option1", "option2", "answer"), TEXT)

    def row(number: int, secret: bool) -> Row:
        who, where, _ = _fact(number)
        sentence = f"{who} left the {where[1]} for the {where[0]} , so the _ was empty ."
        options = {"option1": where[number % 2], "option2": where[1 - number % 2]}
        return {"sentence": sentence, **options, "answer": "" if secret else str(2 - number % 2)}

    return _task("allenai/winogrande", place, features, row, "winogrande_xl")


def ai2_arc(place: Path) -> list[Repository]:
    return _task("allenai/ai2_arc", place, *_exam("question"), "ARC-Easy", "ARC-Challenge")


def openbookqa(place: Path) -> list[Repository]:
    return _task("allenai/openbookqa", place, *_exam("question_stem"), "main")


def _fact(number: int) -> tuple[str, list[str], str]:
    """Who is where: the person, the places with the true one first, and a text that tells it."""
    who, first = PEOPLE[number % len(PEOPLE)], number % len(PLACES)
    where = [*PLACES[first:], *PLACES[:first]]
    told = f"number {number} : {who} left the {where[1]} and walked to the {where[0]} ."
    return who, where, told


def _turned(texts: list[str], answer: int) -> list[str]:
    """Four of them, with the first at the place of the answer."""
    return texts[1 : answer + 1] + texts[:1] + texts[answer + 1 : 4]


def _exam(question: str) -> tuple[dict[str, Any], Callable[[int, bool], Row]]:
    """The features and the rows of a data set with four lettered choices; no answer is secret."""

    def row(number: int, _: bool) -> Row:
        who, where, told = _fact(number)
        choices = {"text": _turned(where, number % 4), "label": list("ABCD")}
        asked = {"id": f"item_{number}", question: f"{told} where was {who} ?"}
        return {**asked, "choices": choices, "answerKey": "ABCD"[number % 4]}

    return {"id": TEXT, question: TEXT, "choices": CHOICES, "answerKey": TEXT}, row


def _task(
    id: str,
    place: Path,
    features: dict[str, Any],
    row: Callable[[int, bool], Row],
    *configs: str,
) -> list[Repository]:
    """A zero-shot data set of these rows, whose answers in the test split are often secret."""
    first, parts = 0, {}
    for split, count in ITEMS.items():
        parts[split] = [row(number, split == "test") for number in range(first, first + count)]
        first += count
    parquet(place, features, dict.fromkeys(configs, parts))
    return [repository(id, place)]
