"""Stories about people who go to places and things that change hands."""

from dsnot_exp.tinyworld.lexicon import WORDS
from dsnot_exp.tinyworld.world import NOBODY, Chance, Scene


def introduce(scene: Scene, person: str) -> None:
    """Sometimes give the person a trade or a garment to be referred to by later."""
    roll = scene.chance.random()
    if roll < 0.1:
        job = scene.chance.word(WORDS["jobs"])
        if f"the {job}" not in scene.epithets.values():
            scene.say("job", person, J=job)
            scene.epithets[person] = f"the {job}"
    elif roll < 0.15:
        garment = f"{scene.chance.word(WORDS['colours'])} {scene.chance.word(WORDS['clothes'])}"
        if f"the one in the {garment}" not in scene.epithets.values():
            scene.say("dress", person, C=garment)
            scene.epithets[person] = f"the one in the {garment}"


def fill(scene: Scene, kind: str, chance: float) -> None:
    if scene.chance.random() < chance:
        p, q = scene.chance.draw(scene.people, 2)
        scene.say(kind, p, q)


def furnish(scene: Scene) -> None:
    """State where everybody and everything is at the start."""
    chance, left = scene.chance, list(scene.people)
    while left:
        p, place = left.pop(0), chance.pick(scene.places)
        scene.place[p] = place
        introduce(scene, p)
        if left and chance.random() < 0.25:
            q = left.pop(0)
            scene.place[q] = place
            scene.say("both", p, q, L=place)
        else:
            scene.say("at", p, L=place)
    for thing in scene.things:
        if chance.random() < 0.35:
            p = chance.pick(scene.people)
            scene.holder[thing] = p
            scene.say("holds", p, O=thing)
        else:
            place = scene.place[chance.pick(scene.people)]
            scene.holder[thing], scene.spot[thing] = NOBODY, place
            scene.say("lies", L=place, O=thing)
    scene.settled = True


def go(scene: Scene, p: str) -> None:
    """Somebody goes somewhere: alone, with somebody, or to take or drop a thing there."""
    chance, here = scene.chance, scene.place[p]
    there, q = scene.elsewhere(here), scene.other(p)
    waiting = [x for x in scene.things if scene.holder[x] == NOBODY and scene.spot[x] == there]
    held = [x for x in scene.things if scene.holder[x] == p]
    near = scene.near(p)
    roll = chance.random()
    if waiting and roll < 0.5:
        thing = chance.pick(waiting)
        scene.say("move and take", p, q, L=there, M=here, O=thing)
        scene.take(p, thing)
        scene.move(p, there)
    elif held and roll < 0.3:
        thing = chance.pick(held)
        scene.say("move and drop", p, q, L=there, M=here, O=thing)
        scene.move(p, there)
        scene.drop(p, thing)
    elif near and roll > 0.7:
        q = chance.pick(near)
        scene.say("together", p, q, L=there, M=here)
        scene.move(p, there)
        scene.move(q, there)
    else:
        scene.say("move", p, q, L=there, M=here)
        scene.move(p, there)


def act(scene: Scene) -> None:
    """One event that is possible in the scene's state."""
    chance = scene.chance
    p = chance.pick(scene.people)
    here, q = scene.place[p], scene.other(p)
    lying = [x for x in scene.things if scene.holder[x] == NOBODY and scene.spot[x] == here]
    held = [x for x in scene.things if scene.holder[x] == p]
    near = scene.near(p)
    roll = chance.random()
    if lying and roll < 0.4:
        thing = chance.pick(lying)
        scene.say("take", p, q, O=thing, L=here)
        scene.take(p, thing)
    elif lying and roll < 0.65:
        thing, there = chance.pick(lying), scene.elsewhere(here)
        scene.say("take and move", p, q, O=thing, L=there, M=here)
        scene.take(p, thing)
        scene.move(p, there)
    elif held and near and roll < 0.6:
        thing, q = chance.pick(held), chance.pick(near)
        scene.say("give", p, q, O=thing, L=here)
        scene.take(q, thing)
    elif held and roll < 0.25:
        thing = chance.pick(held)
        scene.say("drop", p, q, O=thing, L=here)
        scene.drop(p, thing)
    else:
        go(scene, p)


def state(scene: Scene) -> None:
    """State where somebody or something is, or who has it."""
    chance = scene.chance
    p, q = chance.draw(scene.people, 2)
    thing, roll = chance.pick(scene.things), chance.random()
    if roll < 0.25:
        scene.say("so at", p, q, L=scene.place[p], M=scene.elsewhere(scene.place[p]))
    elif roll < 0.6:
        place, holder = scene.whereabouts(thing), scene.holder[thing]
        scene.say("so lies", holder, q, O=thing, L=place, M=scene.elsewhere(place))
    elif scene.holder[thing] == NOBODY:
        scene.say("so free", p, q, O=thing)
    else:
        scene.say("so holds", scene.holder[thing], scene.other(scene.holder[thing]), O=thing)


def note(scene: Scene) -> None:
    """Summarise everything that is true now."""
    facts = [("note person", {"p": p, "L": scene.place[p]}) for p in scene.people]
    for x in scene.things:
        facts.append(("note thing", {"O": x, "r": scene.holder[x], "L": scene.whereabouts(x)}))
    scene.note(facts)


def ask(scene: Scene, kind: str, about: str) -> str:
    """Ask about a thing or a person, and add and return the answer."""
    q = scene.chance.pick([name for name in scene.people if name != about])
    if kind == "who":
        scene.say(kind, scene.holder[about], scene.other(scene.holder[about]), O=about)
        return scene.holder[about]
    if kind == "where thing":
        scene.say(kind, q=q, O=about, L=scene.whereabouts(about))
        return scene.whereabouts(about)
    if kind == "before" and about in scene.previous:
        scene.say(kind, about, L=scene.place[about], M=scene.previous[about])
        return scene.previous[about]
    scene.say("where person", about, q, L=scene.place[about])
    return scene.place[about]


def questions(scene: Scene, count: int) -> None:
    """Ask different questions about the story so far, with their answers."""
    known = [(kind, thing) for thing in scene.things for kind in ("who", "where thing")]
    known += [("where person", person) for person in scene.people]
    known.append(("before", scene.people[-1]))
    for kind, about in scene.chance.draw(known, count):
        ask(scene, kind, about)


def things(chance: Chance) -> Scene:
    scene = Scene(chance, chance.pick([2, 2, 2, 3, 3]), chance.number(2, 4), chance.pick([1, 1, 2]))
    fill(scene, "open", 0.1)
    furnish(scene)
    if chance.random() < 0.15:
        note(scene)
    for _ in range(chance.number(1, 4)):
        act(scene)
        roll = chance.random()
        if roll < 0.45:
            questions(scene, 1)
        elif roll < 0.7:
            state(scene)
        elif roll < 0.85:
            note(scene)
        fill(scene, "filler", 0.08)
    if chance.random() < 0.2:
        note(scene)
    questions(scene, chance.number(2, 3))
    fill(scene, "close", 0.1)
    return scene
