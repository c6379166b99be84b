from pathlib import Path

from transformers import AutoTokenizer

from dsnot_exp.tinyworld import MODEL, tokenizer
from dsnot_exp.tinyworld.language import corpus, stories


def test_round_trip_without_unknown_words() -> None:
    words = tokenizer.build()
    for split in ("train", "validation", "test"):
        for text in stories(split, 200):
            ids = words(text, add_special_tokens=False).input_ids
            assert words.decode(ids) == text
            assert words.unk_token_id not in ids
            assert len(ids) == len(text.split())


def test_text_starts_with_one_start_token_and_corpus_brings_its_own() -> None:
    words = tokenizer.build()
    assert words("anna was in the garden .").input_ids[:2] == words.convert_tokens_to_ids(
        ["<s>", "anna"]
    )
    ids = words(corpus("test", 300), add_special_tokens=False).input_ids
    assert ids[0] == words.bos_token_id
    assert ids[-1] == words.eos_token_id
    assert ids.count(words.bos_token_id) == ids.count(words.eos_token_id)


def test_the_committed_tokenizer_is_the_one_built_here(tmp_path: Path) -> None:
    built, committed = tokenizer.build(), AutoTokenizer.from_pretrained(MODEL)
    assert committed.get_vocab() == built.get_vocab()
    text = stories("test", 1)[0]
    encoded = committed(text)
    assert encoded.input_ids == built(text).input_ids
    assert set(encoded) == {"input_ids", "attention_mask"}
