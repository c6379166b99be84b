"""Stories about how many things people have."""

from dsnot_exp.tinyworld.lexicon import KIND_OF, WORDS
from dsnot_exp.tinyworld.stories import fill, introduce
from dsnot_exp.tinyworld.world import Chance, Scene


class Bags:
    """How many things of one kind each person has (0-6), and the sentences about it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.kinds = scene.chance.word(WORDS["kinds"])
        self.bag: dict[str, int] = {}

    def say(self, form: str, p: str, q: str, number: int) -> None:
        kind = KIND_OF[self.kinds] if number == 1 else self.kinds
        amount, answer = WORDS["numbers"][number], WORDS["amounts"][number]
        self.scene.say(form, p, q, N=amount, n=answer, K=kind, Ks=self.kinds)

    def start(self) -> None:
        for p in self.scene.people:
            introduce(self.scene, p)
            self.bag[p] = self.scene.chance.number(0, 4)
            self.say("count", p, self.scene.other(p), self.bag[p])

    def change(self) -> None:
        """Somebody finds, loses or gives away some of the things."""
        p, q = self.scene.chance.draw(self.scene.people, 2)
        spare, room = self.bag[p], 6 - self.bag[q]
        roll = self.scene.chance.random()
        if roll < 0.35 and min(spare, room) > 0:
            number = self.scene.chance.number(1, min(spare, room, 2))
            self.say("share", p, q, number)
            self.bag[p] -= number
            self.bag[q] += number
        elif room and (roll < 0.7 or not spare):
            number = self.scene.chance.number(1, min(room, 2))
            self.say("gain", q, p, number)
            self.bag[q] += number
        elif spare:
            number = self.scene.chance.number(1, min(spare, 2))
            self.say("lose", p, q, number)
            self.bag[p] -= number

    def note(self) -> None:
        amounts = WORDS["amounts"]
        self.scene.note(
            [("note count", {"p": p, "n": amounts[own]}) for p, own in self.bag.items()]
        )

    def state(self) -> None:
        p, q = self.scene.chance.draw(self.scene.people, 2)
        if self.scene.chance.random() < 0.7:
            self.say("so many", p, q, self.bag[p])
        elif self.bag[p] == self.bag[q]:
            self.say("same", p, q, 0)
        else:
            richer, poorer = sorted((p, q), key=lambda x: -self.bag[x])
            self.say("fewer", richer, poorer, 0)

    def ask(self, p: str, q: str) -> str:
        self.say("how many", p, q, self.bag[p])
        return WORDS["amounts"][self.bag[p]]


def counts(chance: Chance) -> Scene:
    scene = Scene(chance, chance.number(2, 3))
    fill(scene, "open", 0.2)
    bags = Bags(scene)
    bags.start()
    for _ in range(chance.number(0, 3)):
        bags.change()
        if chance.random() < 0.35:
            bags.state()
        elif chance.random() < 0.6:
            bags.note()
        fill(scene, "filler", 0.08)
    if chance.random() < 0.5:
        bags.note()
    for p in chance.draw(scene.people, chance.number(1, len(scene.people))):
        q = scene.other(p)
        if chance.random() < 0.75 or bags.bag[p] == bags.bag[q]:
            bags.ask(p, q)
        else:
            scene.say("who more", p, q, Ks=bags.kinds, r=max(p, q, key=lambda x: bags.bag[x]))
    fill(scene, "close", 0.1)
    return scene
