import hashlib

from dsnot_exp.tinyworld import tokenizer
from dsnot_exp.tinyworld.language import corpus, stories
from dsnot_exp.tinyworld.lexicon import WORDS
from dsnot_exp.tinyworld.world import FORMS


def digest(split: str) -> str:
    return hashlib.sha256("\n".join(stories(split, 500)).encode()).hexdigest()[:16]


def test_same_text_on_every_machine() -> None:
    recorded = {
        "train": "89b62ee0d65965b2",
        "validation": "8d3da2c413dc2bdc",
        "test": "774f2125fac121ca",
    }
    assert {split: digest(split) for split in recorded} == recorded


def test_a_story_depends_on_its_number_alone() -> None:
    assert stories("train", 5, start=20) == stories("train", 25)[20:]


def test_no_story_is_in_two_splits_or_twice() -> None:
    told = [text for split in ("train", "validation", "test") for text in stories(split, 2000)]
    assert len(set(told)) == len(told)


def test_a_thousand_words_occur_and_all_are_in_the_vocabulary() -> None:
    occurring = {word for text in stories("train", 2000) for word in text.split()}
    assert len(occurring) >= 1000
    assert occurring <= set(tokenizer.vocabulary())


def test_there_are_hundreds_of_sentence_forms() -> None:
    forms = {str(form) for kind in FORMS.values() for form in kind}
    assert len(forms) >= 300


def test_names_and_things_mean_one_thing_only() -> None:
    for one, other in [("women", "men"), ("places", "things"), ("jobs", "places")]:
        assert not set(WORDS[one]) & set(WORDS[other])
    people = set(WORDS["women"] + WORDS["men"])
    rest = {
        word
        for name, phrases in WORDS.items()
        if name not in ("women", "men")
        for phrase in phrases
        for word in phrase.split()
    }
    assert not people & rest


def test_corpus_is_as_long_as_asked_and_no_longer_than_a_story_more() -> None:
    ids = tokenizer.build()(corpus("validation", 5000), add_special_tokens=False).input_ids
    assert 5000 <= len(ids) < 5400
    assert corpus("validation", 5000) != corpus("test", 5000)
