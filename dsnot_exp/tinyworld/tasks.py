"""Zero-shot tasks in lm-eval's format, with items that no training story contains.

``build(folder)`` writes a YAML file and a JSON-lines file per task, with 500 items each. All tasks
except ``tw_follows`` have single-token answers, which lm-eval scores with one forward per item.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dsnot_exp.tinyworld.comparing import Ranking
from dsnot_exp.tinyworld.counting import Bags
from dsnot_exp.tinyworld.language import SEEDS
from dsnot_exp.tinyworld.lexicon import SHE_OR_HE, WORDS
from dsnot_exp.tinyworld.stories import act, ask, furnish
from dsnot_exp.tinyworld.world import FORMS, NOBODY, Chance, Scene
from dsnot_exp.utils.files import write_atomically

ITEMS = 500
LONGEST = 60  # maximum words of a context

YAML = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{context}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


@dataclass(frozen=True)
class Item:
    """A context, the choices that may follow it after a space, and the index of the right one."""

    context: str
    choices: list[str]
    answer: int


def item(context: str, right: str, wrong: list[str], number: int) -> Item:
    """An item. Its number sets the right answer's position, so that all are equally frequent."""
    answer = number % (len(wrong) + 1)
    return Item(context, [*wrong[:answer], right, *wrong[answer:]], answer)


def question(scene: Scene, right: str, others: list[str], number: int) -> Item | None:
    """An item with the scene up to the last question's answer; None if that is too long."""
    end = len(scene.words) - scene.words[::-1].index(right) - 1
    wrong = [name for name in others if name != right]
    context = " ".join(scene.words[:end])
    if context.count(" ") >= LONGEST:
        return None
    return item(context, right, scene.chance.draw(wrong, len(wrong)), number)


def moved_scene(chance: Chance, places: int = 3) -> tuple[Scene, str] | None:
    """Two people in at least `places` - 1 places, and a thing; None if it has not changed hands."""
    scene = Scene(chance, 2, places, 1)
    furnish(scene)
    if len(set(scene.place.values())) < places - 1:
        return None
    (thing,) = scene.things
    holder = scene.holder[thing]
    for _ in range(chance.number(1, 2)):
        act(scene)
    return (scene, thing) if scene.holder[thing] != holder else None


def where(chance: Chance, number: int) -> Item | None:
    """Where a thing is: one of three places, all mentioned in the context."""
    found = moved_scene(chance)
    if not found or not set(found[0].places) <= set(found[0].words):
        return None
    scene, thing = found
    return question(scene, ask(scene, "where thing", thing), scene.places, number)


def holder(chance: Chance, number: int) -> Item | None:
    """Who has a thing: one of two people, or nobody."""
    found = moved_scene(chance)
    if not found:
        return None
    scene, thing = found
    return question(scene, ask(scene, "who", thing), [*scene.people, NOBODY], number)


def count(chance: Chance, number: int) -> Item | None:
    """How many things somebody has. Wrong answers are first taken from the story's numbers."""
    scene = Scene(chance, 2)
    bags = Bags(scene)
    bags.start()
    for _ in range(chance.number(0, 2)):
        bags.change()
    mentioned = [word for word in WORDS["amounts"] if word in scene.words]
    right = bags.ask(*chance.draw(scene.people, 2))
    near = [word for word in mentioned if word != right]
    far = [word for word in WORDS["amounts"] if word not in mentioned and word != right]
    wrong = [*chance.draw(near, len(near)), *chance.draw(far, len(far))][:3]
    return question(scene, right, wrong, number)


def compare(chance: Chance, number: int) -> Item | None:
    """Which of two people is taller (or older, weaker, ...), in a story about three."""
    scene = Scene(chance, 3)
    ranking = Ranking(scene)
    ranking.compare_all()
    p, q = chance.draw(scene.people, 2)
    return question(scene, ranking.ask_pair(p, q), [p, q], number)


def refer(chance: Chance, number: int) -> Item | None:
    """She or he: which pronoun continues a story about a woman and a man."""
    scene = Scene(chance, 2, 3, 1)
    person, other = chance.draw(scene.people, 2)
    if SHE_OR_HE[person] == SHE_OR_HE[other]:
        return None
    furnish(scene)
    act(scene)
    mood = chance.word(WORDS["mood"])
    context = f"{scene.text()} because {person} was {mood} ,"
    return item(context, SHE_OR_HE[person], [SHE_OR_HE[other]], number)


def follows(chance: Chance, number: int) -> Item | None:
    """Which of two sentences that differ in one word agrees with the story."""
    found = moved_scene(chance)
    if not found or found[0].text().count(" ") >= LONGEST:
        return None
    scene, thing = found
    place, person = scene.whereabouts(thing), scene.holder[thing]
    if person == NOBODY or chance.random() < 0.5:
        known = [name for name in scene.places if name in scene.words and name != place]
        kind, right, wrong = "so lies", place, chance.pick(known or [scene.elsewhere(place)])
    else:
        kind, right, wrong = "so holds", person, scene.other(person)
    mentions = [word for word in scene.words if word in (right, wrong)]
    if (
        mentions[-1:] == [right] and chance.random() < 0.4
    ):  # else the latest mention is a good guess
        return None
    simple = [form for form in FORMS[kind] if not {"M", "q"} & {text for _, text in form}]
    words = scene.render(chance.pick(simple), person, O=thing, L=place)
    other = [wrong if word == right else word for word in words]
    return item(scene.text(), " ".join(words), [" ".join(other)], number)


TASKS: dict[str, Callable[[Chance, int], Item | None]] = {
    "tw_where": where,
    "tw_holder": holder,
    "tw_count": count,
    "tw_compare": compare,
    "tw_refer": refer,
    "tw_follows": follows,
}


def items(name: str, count: int = ITEMS) -> list[Item]:
    """The first `count` items of a task, the same on every machine."""
    make, base = TASKS[name], SEEDS["tasks"] + (list(TASKS).index(name) << 32)
    found = []
    for number in range(count):
        chance, made = Chance(base + number), None
        while made is None:
            made = make(chance, number)
        found.append(made)
    return found


@functools.cache  # a sweep asks for them in every run
def _lines(name: str) -> str:
    """A task's items as JSON lines."""
    return "".join(json.dumps(asdict(made)) + "\n" for made in items(name))


def build(folder: Path) -> list[str]:
    """Write the tasks into `folder` and return their names.

    A digest of the items is in their file's name, so that no cache of an older file is used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TASKS:
        lines = _lines(name)
        digest = hashlib.sha256(lines.encode()).hexdigest()[:12]
        path = folder.resolve() / f"{name}-{digest}.jsonl"
        recipe = YAML.format(name=name, path=json.dumps(str(path)))
        for file, text in ((path, lines), (folder / f"{name}.yaml", recipe)):
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                write_atomically(file, text.encode())
    return list(TASKS)
