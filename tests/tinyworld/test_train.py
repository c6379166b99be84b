from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dsnot_exp.tinyworld.network import Recipe
from dsnot_exp.tinyworld.train import Trainer, rate, train
from dsnot_exp.tinyworld.training_rows import answers, packed_rows, short_rows

TINY = Recipe(hidden=64, layers=2, intermediate=64, heads=4, steps=20, packed=6, batch=4, warmup=2)


def test_a_few_steps_lower_the_loss() -> None:
    trainer = Trainer(TINY)
    losses = [trainer.advance() for _ in range(12)]
    assert losses[-1] < losses[0] - 0.5


def test_a_resumed_run_goes_on_identically(tmp_path: Path) -> None:
    whole, before, after = Trainer(TINY), Trainer(TINY), Trainer(TINY)
    expected = [whole.advance() for _ in range(20)]
    for _ in range(13):
        before.advance()
    before.save(tmp_path / "checkpoint.pt")
    after.load(tmp_path / "checkpoint.pt")
    assert [after.advance() for _ in range(7)] == expected[13:]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    Trainer(TINY).save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="another recipe"):
        Trainer(replace(TINY, steps=21)).load(tmp_path / "checkpoint.pt")


def test_the_rate_warms_up_and_ends_near_zero() -> None:
    recipe = Recipe()
    rates = [rate(recipe, step) for step in range(recipe.steps)]
    assert max(rates) == rates[recipe.warmup] == 1
    assert rates[0] < 0.02
    assert rates[-1] < 1e-3


def test_rows_hold_whole_stories_first_and_everything_later() -> None:
    trainer = Trainer(TINY)
    start, end = trainer.words.bos_token_id, trainer.words.eos_token_id
    short = short_rows(replace(TINY, batch=8), trainer.words, 0)
    assert short.shape == (12, 128)
    for row in short:
        ids = row[row >= 0]
        assert ids[0] == start
        assert ids[-1] == end
    packed = packed_rows(TINY, trainer.words, 0)
    assert packed.shape == (4, 256)
    assert (packed >= 0).all()


def test_answers_lie_between_a_question_or_colon_and_a_full_stop() -> None:
    trainer = Trainer(TINY)
    text = "who had the lamp ? anna . in short : anna , kitchen . ben was glad ."
    ids = trainer.words(text, add_special_tokens=False, return_tensors="pt").input_ids
    marked = [
        w for w, here in zip(text.split()[1:], answers(ids, trainer.words)[0], strict=True) if here
    ]
    assert marked == ["anna", ".", "anna", ",", "kitchen", "."]


TEXT = "then anna was in the kitchen . ben was in the garden . anna quickly went to the cellar ."


def test_the_first_heads_begin_by_looking_back() -> None:
    trainer = Trainer(Recipe())
    ids = torch.randint(4, 1000, (1, 30))
    attention = trainer.model(ids, output_attentions=True).attentions[0][0]
    for head in range(7):
        looked = attention[head].argmax(-1)[10:]
        assert (looked == torch.arange(10, 30) - head - 1).float().mean() > 0.7


def test_the_second_block_begins_by_finding_what_was_last_told_of_the_same() -> None:
    trainer = Trainer(Recipe())
    ids = trainer.words(f"{TEXT} where was anna ? in the", return_tensors="pt").input_ids
    words = trainer.words.convert_ids_to_tokens(ids[0])
    with torch.no_grad():
        attention = trainer.model(ids, output_attentions=True).attentions[1][0, 4:6, -1].mean(0)
    places = {word: float(attention[words.index(word)]) for word in ("kitchen", "garden", "cellar")}
    assert places["cellar"] > 2 * places["kitchen"] > 2 * places["garden"]


def test_training_writes_a_folder_that_transformers_loads(tmp_path: Path) -> None:
    train(replace(TINY, steps=2, packed=1), tmp_path / "out", tmp_path / "checkpoint.pt")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    words = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(words) <= model.config.vocab_size
