"""More samples than a text has windows: drawn quickly, with progress, and the repeats counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dsnot_exp.data import windows
from dsnot_exp.data.corpora import Corpus
from dsnot_exp.data.load import calibration_tokens
from dsnot_exp.data.sampling import sample
from dsnot_exp.utils.errors import RequestError
from tests.support.texts import (
    characters,
    released_by_document,
    released_from_stream,
    text_of,
)


@pytest.mark.parametrize("long", [0, 1, 5])
def test_every_document_is_tokenised_once(long: int) -> None:
    texts, counted = [text_of(3, 100 * number) for number in range(8)] + [text_of(9, 900)], []
    texts += [text_of(40, 1000 + 100 * number) for number in range(long)]

    def counting(text: str, verbose: bool = True) -> dict[str, list[int]]:
        counted.append(text)
        return characters(text)

    corpus = Corpus(texts, "", by_document=True)
    sample(corpus, 300, 8, 0, counting, "calib.dataset=c4", held_out=3)
    assert sorted(counted) == sorted(texts)


def test_documents_that_leave_the_memory_are_tokenised_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = Corpus([text_of(30, 100 * n) for n in range(6)], "", by_document=True)
    expected = sample(corpus, 40, 8, 0, characters, "calib.dataset=c4").ids
    monkeypatch.setattr(windows, "KEPT_TOKENS", 70)
    text = windows.Documents(corpus, 8, characters, "calib.dataset=c4")
    for document in range(6):
        text.tokens(document)
        assert text.total == sum(map(len, text.kept.values())) <= 70
    assert list(text.kept) == [4, 5]
    found = sample(corpus, 40, 8, 0, characters, "calib.dataset=c4").ids
    assert found.tolist() == expected.tolist()


@pytest.mark.usefixtures("_global_generator")
@pytest.mark.parametrize("by_document", [True, False], ids=["documents", "stream"])
def test_many_more_samples_than_windows_are_drawn_as_released_and_counted(
    by_document: bool, tmp_path: Path
) -> None:
    texts = [text_of(12, 100 * number) for number in range(5)]
    path = tmp_path / ("a.jsonl" if by_document else "a.txt")
    path.write_text("\n".join(json.dumps({"text": t}) for t in texts) if by_document else texts[0])
    found = calibration_tokens(str(path), 2000, 8, 3, characters)
    if by_document:
        assert found.ids.tolist() == released_by_document(texts, 2000, 8, 3)
    else:
        assert found.ids.tolist() == released_from_stream(texts[0], 2000, 8, 3)
    windows_ = 20 if by_document else 4
    assert found.record()["distinct"] == windows_
    (warning,) = found.warnings
    assert warning.startswith(f"calib.samples=2000: only {windows_} of the sequences")
    assert calibration_tokens(str(path), 1, 8, 3, characters).warnings == ()
    (warning,) = calibration_tokens(str(path), 200, 8, 3, characters, "finetune").warnings
    assert warning.startswith("finetune.samples=200: ")


def test_a_coincidence_is_recorded_but_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text_of(1000))
    found = [calibration_tokens(str(path), 40, 8, seed, characters) for seed in range(8)]
    assert {39, 40} <= {one.distinct for one in found}
    assert all(not one.warnings for one in found if one.distinct >= 38)


@pytest.mark.parametrize("by_document", [True, False], ids=["documents", "stream"])
def test_tokenising_and_drawing_report_progress(by_document: bool) -> None:
    shown: list[tuple[str, int, float]] = []

    class Counter:
        done = 0.0

        def advance(self, steps: float = 1) -> None:
            self.done += steps

    @contextmanager
    def phase(name: str, total: int, what: str) -> Iterator[Counter]:
        assert what == "calib.dataset=c4"
        yield (counter := Counter())
        shown.append((name, total, counter.done))

    corpus = Corpus([text_of(30, 100 * n) for n in range(6)], "", by_document)
    sample(corpus, 1000, 8, 0, characters, "calib.dataset=c4", held_out=3, phase=phase)
    tokenised = [] if by_document else [("tokenise", 1, 1)]
    assert shown == [*tokenised, ("sample", 1003, 1003)]


def test_more_samples_than_memory_holds_are_refused() -> None:
    with pytest.raises(RequestError, match=r"^calib\.samples=10+: .*lower it$"):
        sample(Corpus(["abc" * 9], ""), 10**15, 8, 0, characters, "calib.dataset=a")
