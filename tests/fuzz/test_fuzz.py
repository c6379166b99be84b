"""A short run of the fuzzer; `make fuzz` makes a long one."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.__main__ import fuzz


def test_random_command_lines(tmp_path: Path) -> None:
    codes = set()
    for number, done, wrong in fuzz(tmp_path, 14, 24, ["llama-tied", "mixtral", "gpt2"]):
        assert wrong == [], f"command {number} of seed 14: {done.words}"
        codes.add(done.code)
    assert codes == {0, 2}
