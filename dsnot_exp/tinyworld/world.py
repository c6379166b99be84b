"""A scene: who is where, who holds what, and the sentences said so far."""

from collections.abc import Callable
from random import Random
from typing import TypeVar

from dsnot_exp.tinyworld.lexicon import PEOPLE, PRONOUNS, SHE_OR_HE, WORDS, sections

NOBODY = "nobody"
VARIED = ("open", "filler", "close")  # sentence kinds without plain forms
T = TypeVar("T")
Form = list[tuple[bool, str]]


def parse(form: str) -> Form:
    """A form as pairs: whether it is a slot, and the word or the slot's name."""
    return [(word[0] == "{", word.strip("{}")) for word in form.split()]


FORMS = {name: [parse(line) for line in lines] for name, lines in sections("forms.txt").items()}


class Chance:
    """Random choices that only use ``random()``, whose values Python guarantees for a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).random

    def pick(self, items: list[T]) -> T:
        return items[int(self.random() * len(items))]

    def word(self, items: list[T]) -> T:
        """One word of a class. As in natural text, few words are frequent: half of the draws come
        from the first eighth."""
        return items[int(self.random() ** 3 * len(items))]

    def draw(self, items: list[T], count: int) -> list[T]:
        """`count` different items in random order."""
        return self._different(self.pick, items, count)

    def words(self, items: list[T], count: int) -> list[T]:
        """`count` different words of a class."""
        return self._different(self.word, items, count)

    def _different(self, choose: Callable[[list[T]], T], items: list[T], count: int) -> list[T]:
        drawn: list[T] = []
        while len(drawn) < count:
            item = choose(items)
            if item not in drawn:
                drawn.append(item)
        return drawn

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))


class Scene:
    """The state of one story. `say` adds a sentence; the event methods change the state.

    place: person -> place
    holder: thing -> person or NOBODY
    spot: thing -> place where it lies, if nobody holds it
    last: "she"/"he" -> the person that the pronoun refers to now
    """

    def __init__(self, chance: Chance, people: int, places: int = 0, things: int = 0) -> None:
        self.chance = chance
        self.people = chance.words(PEOPLE, people)
        self.places = chance.words(WORDS["places"], places)
        self.things = chance.words(WORDS["things"], things)
        self.place: dict[str, str] = {}
        self.previous: dict[str, str] = {}
        self.holder: dict[str, str] = {}
        self.spot: dict[str, str] = {}
        self.epithets: dict[str, str] = {}
        self.last: dict[str, str] = {}
        self.settled = False
        self.words: list[str] = []

    def other(self, person: str) -> str:
        """Somebody else."""
        return self.chance.pick([name for name in self.people if name != person])

    def elsewhere(self, place: str) -> str:
        return self.chance.pick([name for name in self.places if name != place])

    def near(self, person: str) -> list[str]:
        """The others who are where `person` is."""
        here = self.place[person]
        return [name for name in self.people if name != person and self.place[name] == here]

    def whereabouts(self, thing: str) -> str:
        holder = self.holder[thing]
        return self.spot[thing] if holder == NOBODY else self.place[holder]

    def move(self, person: str, place: str) -> None:
        self.previous[person] = self.place[person]
        self.place[person] = place

    def take(self, person: str, thing: str) -> None:
        self.holder[thing] = person

    def drop(self, person: str, thing: str) -> None:
        self.holder[thing] = NOBODY
        self.spot[thing] = self.place[person]

    def name(self, person: str) -> str:
        """The name. From now on the pronoun refers to this person."""
        if person != NOBODY:
            self.last[SHE_OR_HE[person]] = person
        return person

    def refer(self, person: str, pronoun: bool) -> str:
        """A name, a pronoun, "the baker" or "the one who had the lamp"."""
        meant = self.last.get(SHE_OR_HE[person]) == person
        self.name(person)
        roll = self.chance.random()
        if pronoun and meant and roll < 0.25:
            return SHE_OR_HE[person]
        if person in self.epithets and roll > 0.75:
            return self.epithets[person]
        if self.settled and 0.25 < roll < 0.3:
            held = [thing for thing in self.things if self.holder[thing] == person]
            if held:
                return f"the one who had the {self.chance.pick(held)}"
            if self.place and not self.near(person):
                return f"the one in the {self.place[person]}"
        return person

    def slot(self, name: str, p: str, q: str) -> str:
        """The words for a slot that has no given value."""
        if name in ("p", "q"):
            return self.name(p if name == "p" else q)
        if name in ("P", "D"):
            return self.refer(p, pronoun=name == "P")
        if name == "Q":
            return self.refer(q, pronoun=False)
        if name in ("he", "him", "his"):
            return PRONOUNS[SHE_OR_HE[p]][name]
        if name in ("he2", "him2"):
            return PRONOUNS[SHE_OR_HE[self.name(q)]][name[:-1]]
        return self.chance.word(WORDS[name])

    def render(self, form: Form, p: str = "", q: str = "", **values: str) -> list[str]:
        """The words of a form. `p` and `q` are people; `values` are the words of other slots."""
        words: list[str] = []
        for is_slot, text in form:
            word = (values.get(text) or self.slot(text, p, q)) if is_slot else text
            if words and words[-1] == "a" and word[0] in "aeiou":
                words[-1] = "an"
            words.append(word)
        return words

    def say(self, kind: str, p: str = "", q: str = "", **values: str) -> None:
        """Add a sentence. The first two forms of a kind are plain and the most frequent."""
        plain = kind not in VARIED and self.chance.random() < 0.7
        forms = FORMS[kind][:2] if plain else FORMS[kind]
        self.words += self.render(self.chance.pick(forms), p, q, **values)

    def note(self, facts: list[tuple[str, dict[str, str]]]) -> None:
        """Summarise facts, each a pair (kind of note, slots), in random order."""
        self.say("note")
        for kind, values in self.chance.draw(facts, len(facts)):
            self.words += self.render(FORMS[kind][0], **values)
        self.words[-1:] = ["."]

    def text(self) -> str:
        return " ".join(self.words)
