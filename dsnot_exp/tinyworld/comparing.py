"""Stories about who is taller, older or braver than whom."""

from dsnot_exp.tinyworld.lexicon import WORDS
from dsnot_exp.tinyworld.stories import fill, introduce
from dsnot_exp.tinyworld.world import Chance, Scene


class Ranking:
    """The people of a scene in one order, such as from the tallest to the shortest.

    upwards: how often sentences compare from above ("taller") rather than from below ("shorter")
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        index = scene.chance.word(list(range(len(WORDS["base"]))))
        self.up = {name: WORDS[name][index] for name in ("base", "more", "most")}
        self.down = {"more": WORDS["less"][index], "most": WORDS["least"][index]}
        self.upwards = 0.85 if scene.chance.random() < 0.6 else 0.15
        self.order = scene.chance.draw(scene.people, len(scene.people))

    def compare(self, kind: str, high: int, low: int) -> None:
        """State that the person at `high` ranks above the person at `low`, in either direction."""
        p, q = self.order[high], self.order[low]
        r = self.scene.chance.pick([name for name in self.order if name not in (p, q)])
        if self.scene.chance.random() > self.upwards:
            self.scene.say(kind, q, p, r=r, **self.down)
        elif kind == "than" and self.scene.chance.random() < 0.15:
            self.scene.say("as", p, q, **self.up)
        else:
            self.scene.say(kind, p, q, r=r, **self.up)

    def compare_all(self) -> None:
        """Compare all neighbours, in random order: just enough to know the whole ranking."""
        for high in self.scene.chance.draw(list(range(len(self.order) - 1)), len(self.order) - 1):
            self.compare("than", high, high + 1)
            fill(self.scene, "filler", 0.08)

    def state(self) -> None:
        if self.scene.chance.random() < 0.5:
            high, low = sorted(self.scene.chance.draw(list(range(len(self.order))), 2))
            self.compare("so more", high, low)
        else:
            self.extreme("so most")

    def note(self) -> None:
        """State the whole ranking, from one end or the other."""
        if self.scene.chance.random() < 0.5:
            words, order = {"most": self.up["most"], "least": self.down["most"]}, self.order
        else:
            words, order = {"most": self.down["most"], "least": self.up["most"]}, self.order[::-1]
        self.scene.say("ranking", order=" , ".join(order), **words)

    def extreme(self, kind: str) -> str:
        """State or ask who is the tallest or the shortest, and return the answer."""
        words, p = (
            (self.up, self.order[0])
            if self.scene.chance.random() < self.upwards
            else (self.down, self.order[-1])
        )
        q = self.scene.other(p)
        if kind == "who is most":
            self.scene.say(kind, q, r=p, **words)
        else:
            self.scene.say(kind, p, q, **words)
        return p

    def ask_pair(self, p: str, q: str) -> str:
        """Ask which of two people is taller (or shorter), and return the answer."""
        high, low = sorted((p, q), key=self.order.index)
        if self.scene.chance.random() < self.upwards:
            self.scene.say("who is more", p, q, r=high, **self.up)
            return high
        self.scene.say("who is more", p, q, r=low, **self.down)
        return low


def comparisons(chance: Chance) -> Scene:
    scene = Scene(chance, chance.pick([3, 3, 4]))
    fill(scene, "open", 0.2)
    if chance.random() < 0.3:
        introduce(scene, scene.people[0])
    ranking = Ranking(scene)
    ranking.compare_all()
    if chance.random() < 0.5:
        ranking.note()
    for _ in range(chance.number(0, 2)):
        ranking.state()
    fill(scene, "filler", 0.08)
    for _ in range(chance.number(2, 3)):
        if chance.random() < 0.6:
            ranking.extreme("who is most")
        else:
            ranking.ask_pair(*chance.draw(ranking.order, 2))
    fill(scene, "close", 0.1)
    return scene
