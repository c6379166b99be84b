"""A slow reader of the stories, which knows the words but nothing of the generator's state."""

import re

from dsnot_exp.tinyworld.lexicon import SHE_OR_HE, WORDS


def any_of(*words: str) -> str:
    return "(?:" + "|".join(sorted(words, key=len, reverse=True)) + ")"


NAME = f"({any_of(*SHE_OR_HE)})"
PLACE = f"({any_of(*WORDS['places'])})"
THING = rf"\b(?:the|an?)(?: {any_of(*WORDS['looks'])})? ({any_of(*WORDS['things'])})\b"
GARMENT = f"({any_of(*WORDS['colours'])} {any_of(*WORDS['clothes'])})"
JOB = f"({any_of(*WORDS['jobs'])})"
NUMBER = f" ({any_of(*WORDS['numbers'])}) "
TAKE = rf"\b{any_of(*WORDS['took'], *WORDS['taken'], 'kept', 'i have', 'once', 'off')}\b"
DROP = rf"\b{any_of(*WORDS['dropped'])}\b"
GOAL = rf"(?:\b(?:to|into|for) the|i am in the|as soon as {NAME} was in the) {PLACE}\b"
COMPARISON = rf"\b{any_of(*WORDS['more'], *WORDS['less'], 'not as')}\b"
REPORT = rf"{NAME} {any_of(*WORDS['said'])} that |everyone knew that "
INTRODUCTIONS = [
    rf"^(?:the (?P<role>{JOB}) was called|the name of the (?P<role2>{JOB}) was) {NAME}",
    rf"^{NAME} (?:was|worked as|,) an? (?P<role>{JOB})",
    rf"^{NAME} (?:wore|had put on) an? (?P<role>{GARMENT})",
    rf"^the one in the (?P<role>{GARMENT}) was {NAME}",
]
RECEIVERS = [
    rf"{NAME} (?:received|got|took) the \w+ from",
    rf"{NAME} asked {NAME} for",
    rf"it was {NAME} (?:who got|to whom)",
    rf"{NAME} thanked",
    rf"because {NAME} was \w+ , {NAME} \w+ the \w+ to h",
    rf"{NAME} \w+ that {NAME} had \w+ the \w+ to h",
    rf"(?:gave|handed) {NAME} the",
    rf"\bto {NAME}\b",
]


class Reader:
    """What a text says: places of people, holders and places of things, numbers, ranks."""

    def __init__(self, text: str) -> None:
        self.place: dict[str, str] = {}
        self.holder: dict[str, str] = {}
        self.spot: dict[str, str] = {}
        self.number: dict[str, int] = {}
        self.above: list[tuple[str, str]] = []
        self.role: dict[str, str] = {}
        self.last: dict[str, str] = {}
        for sentence in text.replace(" between two stones", "").split(" . "):
            if not re.search(r"\?|asked (?:who|where|how|whether)", sentence):
                self.read(sentence)

    def read(self, sentence: str) -> None:
        for form in INTRODUCTIONS:
            if found := re.search(form, sentence):
                roles = found.groupdict()
                name = re.findall(rf"\b{NAME}\b", sentence)[0]
                self.role[roles.get("role") or roles["role2"]] = name
                self.last[SHE_OR_HE[name]] = name
                return
        plain = self.resolve(sentence)
        said = re.sub(rf"^(?:{REPORT})", "", plain)
        if re.search(COMPARISON, said):
            self.compare(said)
        elif re.search(NUMBER, said):
            self.count(said)
        elif re.search(THING, said):
            self.move_thing(said, plain)
        elif re.search(rf"\b{PLACE}\b", said):
            goals = re.findall(GOAL, said) or re.findall(rf"(\b)in the {PLACE}\b", said)
            for name in re.findall(rf"\b{NAME}\b", said):
                self.place[name] = goals[-1][-1]

    def resolve(self, sentence: str) -> str:
        """Names instead of pronouns and descriptions, from left to right."""
        pattern = (
            rf"\b(?:{NAME}|the one who had the (?P<held>\w+)|the one in the (?P<worn>{GARMENT})"
            rf"|the one in the (?P<there>{PLACE})|the (?P<job>{JOB})|(?P<pronoun>she|he))\b"
        )

        def name(found: re.Match[str]) -> str:
            parts = found.groupdict()
            if parts["held"]:
                person = self.holder[parts["held"]]
            elif parts["there"]:
                (person,) = [who for who, where in self.place.items() if where == parts["there"]]
            elif parts["worn"] or parts["job"]:
                person = self.role[parts["worn"] or parts["job"]]
            else:
                person = self.last[found[0]] if parts["pronoun"] else found[0]
            self.last[SHE_OR_HE[person]] = person
            return person

        return re.sub(pattern, name, sentence)

    def move_thing(self, said: str, plain: str) -> None:
        (thing,) = set(re.findall(THING, said))
        for form in RECEIVERS:
            if found := re.search(form, plain):
                receiver = found[1]
                self.holder[thing] = self.last[SHE_OR_HE[receiver]] = receiver
                return
        names = re.findall(rf"\b{NAME}\b", said)
        places = re.findall(rf"\b{PLACE}\b", said)
        if not names:
            self.holder[thing], self.spot[thing] = "nobody", places[0]
            return
        if goal := re.search(GOAL, said):
            self.place[names[0]] = goal.groups()[-1]
        if (re.search(DROP, said) and not re.search(TAKE, said)) or re.search(
            r"(?:carried|brought) the .* to the", said
        ):
            self.holder[thing], self.spot[thing] = "nobody", self.place[names[0]]
        else:
            self.holder[thing] = names[0]

    def count(self, said: str) -> None:
        number = WORDS["numbers"].index(re.findall(NUMBER, said)[0])
        names = re.findall(rf"\b{NAME}\b", said)
        first = names[0]
        if re.search(r"\b(?:somebody|an?) .*took .* from", said):
            self.number[first] -= number
        elif len(set(names)) == 2:
            giver, taker = (names[1], first) if " from " in said else (first, names[1])
            self.number[giver] -= number
            self.number[taker] += number
        elif re.search(rf"\b{any_of(*WORDS['lost'])}\b", said):
            self.number[first] -= number
        elif re.search(rf"\b{any_of(*WORDS['found'], 'somebody gave', 'had got')}\b", said):
            self.number[first] += number
        else:
            self.number[first] = number

    def compare(self, said: str) -> None:
        names = re.findall(rf"\b{NAME}\b", said)
        if "although" in said or "compared" in said or ("was not as" in said and "but" not in said):
            names = names[::-1]
        if said.startswith("of "):
            names = [names[2], *(name for name in names[:2] if name != names[2])]
        higher, lower = names[:2]
        if set(said.split()) & set(WORDS["less"]):
            higher, lower = lower, higher
        self.above.append((higher, lower))

    def where(self, thing: str) -> str:
        holder = self.holder[thing]
        return self.spot[thing] if holder == "nobody" else self.place[holder]

    def above_all(self, one: str, other: str) -> bool:
        """Whether `one` comes before `other`, perhaps by way of a third."""
        lower = {b for a, b in self.above if a == one}
        return other in lower or any(self.above_all(name, other) for name in lower)
