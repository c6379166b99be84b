"""The word classes of the language, read from ``words.txt``."""

from pathlib import Path

HERE = Path(__file__).parent


def sections(name: str) -> dict[str, list[str]]:
    """The lines of a data file beside this module, by ``[section]``; ``#`` starts a comment."""
    found: dict[str, list[str]] = {}
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            current.append(line)
    return found


WORDS = {name: ", ".join(lines).split(", ") for name, lines in sections("words.txt").items()}

SHE_OR_HE = dict.fromkeys(WORDS["women"], "she") | dict.fromkeys(WORDS["men"], "he")
PEOPLE = [p for pair in zip(WORDS["women"], WORDS["men"], strict=True) for p in pair]
PRONOUNS = {
    "she": {"he": "she", "him": "her", "his": "her"},
    "he": {"he": "he", "him": "him", "his": "his"},
}
KIND_OF = dict(zip(WORDS["kinds"], WORDS["kind"], strict=True))
