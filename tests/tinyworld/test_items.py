"""Every item's answer follows from its text, as an independent reader understands it."""

import re
from collections import Counter

import pytest

from dsnot_exp.tinyworld.language import stories
from dsnot_exp.tinyworld.lexicon import SHE_OR_HE, WORDS
from dsnot_exp.tinyworld.tasks import TASKS, Item, items
from tests.tinyworld.reader import NAME, PLACE, THING, Reader

COUNT = 150


@pytest.fixture(scope="module", params=list(TASKS))
def task(request: pytest.FixtureRequest) -> tuple[str, list[Item]]:
    return request.param, items(request.param, COUNT)


def holds(reader: Reader, sentence: str) -> bool:
    """Whether "so the lamp was in the cellar" or "so anna had the lamp" is true."""
    (thing,) = set(re.findall(THING, sentence))
    places = re.findall(rf"\b{PLACE}\b", sentence)
    if places:
        return reader.where(thing) == places[0]
    return reader.holder[thing] == re.findall(rf"\b{NAME}\b", sentence)[0]


def answer(name: str, item: Item) -> str:
    """The choice that follows from the context."""
    reader, context = Reader(item.context), item.context
    if name == "tw_where":
        return reader.where(re.findall(r"where (?:was )?the (\w+)", context)[-1])
    if name == "tw_holder":
        return reader.holder[re.findall(r"who had the (\w+)", context)[-1]]
    if name == "tw_count":
        asked = re.split("how many", context)[-1]
        return WORDS["amounts"][reader.number[re.findall(rf"\b{NAME}\b", asked)[0]]]
    if name == "tw_compare":
        comparatives = {*WORDS["more"], *WORDS["less"]}
        asked = [word for word in context.split() if word in comparatives][-1]
        p, q = item.choices
        return p if reader.above_all(p, q) == (asked in WORDS["more"]) else q
    if name == "tw_refer":
        return SHE_OR_HE[re.findall(rf"because {NAME} was", context)[-1]]
    (true,) = [choice for choice in item.choices if holds(reader, choice)]
    return true


def test_the_marked_choice_follows_from_the_context(task: tuple[str, list[Item]]) -> None:
    name, made = task
    for item in made:
        assert answer(name, item) == item.choices[item.answer], item


def test_answers_are_at_every_position_equally_often(task: tuple[str, list[Item]]) -> None:
    _, made = task
    positions = Counter(item.answer for item in made)
    assert max(positions.values()) - min(positions.values()) <= 1
    assert len(positions) == len(made[0].choices)


def test_choices_differ_and_items_are_short(task: tuple[str, list[Item]]) -> None:
    name, made = task
    for item in made:
        assert len(set(item.choices)) == len(item.choices)
        assert len(item.context.split()) <= 60
        assert name == "tw_follows" or all(" " not in choice for choice in item.choices)


def test_no_heuristic_solves_a_task(task: tuple[str, list[Item]]) -> None:
    """Neither the choice mentioned last nor the one mentioned most often is good enough."""
    _, made = task
    last, most = 0, 0
    for item in made:
        words = f" {item.context} "
        common = set.intersection(*(set(choice.split()) for choice in item.choices))
        keys = [f" {' '.join(w for w in c.split() if w not in common)} " for c in item.choices]
        last += max(range(len(keys)), key=lambda i: words.rfind(keys[i])) == item.answer
        most += max(range(len(keys)), key=lambda i: words.count(keys[i])) == item.answer
    assert max(last, most) < 0.8 * len(made)


def test_no_context_is_part_of_a_training_story(task: tuple[str, list[Item]]) -> None:
    _, made = task
    told = "\n".join(stories("train", 3000))
    assert not any(item.context in told for item in made)
