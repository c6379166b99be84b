"""The texts: stories from disjoint seeds for training, validation and test."""

from dsnot_exp.tinyworld.comparing import comparisons
from dsnot_exp.tinyworld.counting import counts
from dsnot_exp.tinyworld.stories import things
from dsnot_exp.tinyworld.world import Chance

# Python mixes a seed's 32-bit words so that n and n + ((n - 1) << 32) give the same numbers. The
# splits are so far apart that no such pair occurs.
SEEDS = {"train": 0, "validation": 1 << 60, "test": 2 << 60, "tasks": 3 << 60}


def story(seed: int) -> str:
    """One story of about 90 words: lower-case words and punctuation between single spaces."""
    chance = Chance(seed)
    roll = chance.random()
    tell = things if roll < 0.66 else counts if roll < 0.84 else comparisons
    return tell(chance).text()


def stories(split: str, count: int, start: int = 0) -> list[str]:
    """`count` stories of the "train", "validation" or "test" split, from number `start` on."""
    return [story(SEEDS[split] + start + number) for number in range(count)]


def corpus(split: str, words: int, start: int = 0) -> str:
    """Stories joined as in training, ``<s> ... </s><s> ...``, with at least `words` tokens."""
    texts: list[str] = []
    count = 0
    while count < words:
        texts.append(story(SEEDS[split] + start + len(texts)))
        count += texts[-1].count(" ") + 3
    return " ".join(f"<s> {text} </s>" for text in texts)
