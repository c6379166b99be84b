"""Text files as they are found: their lines, marks, compression, fields and damages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsnot_exp.data.corpora import refuse_unknown
from dsnot_exp.data.text_files import read_file
from dsnot_exp.utils.errors import RequestError

SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"  # lines to str.splitlines, text to JSON
BOM = "\ufeff"


def read(path: Path, field: str = "text") -> list[str]:
    refuse_unknown("calib.dataset", str(path))
    return list(read_file(f"calib.dataset={path}", str(path), field).documents)


def refusal(path: Path, field: str = "text") -> str:
    with pytest.raises(RequestError) as refused:
        read(path, field)
    message = str(refused.value)
    assert message.startswith(f"calib.dataset={path}: ")
    assert "\n" not in message
    return message.removeprefix(f"calib.dataset={path}: ")


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return path


def lines(*rows: Any, end: str = "\n") -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n \t\r\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.JSONL", "a.json", "a.JSON.GZ"])
def test_a_line_ends_at_a_line_feed_only(name: str, end: str, tmp_path: Path) -> None:
    rows = [{"text": SEPARATORS}, {"text": "x\r\ny"}]
    for start in ("", BOM):
        path = write(tmp_path / name, start + lines(*rows, end=end))
        assert read(path) == [SEPARATORS, "x\r\ny"]


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.txt.gz", "A.Txt.Gz"])
def test_a_byte_order_mark_is_no_text(name: str, tmp_path: Path) -> None:
    text = f"{SEPARATORS}\r\n\nb{BOM}"
    for start in ("", BOM):
        assert read(write(tmp_path / name, start + text)) == [text]


def test_joined_files_have_a_mark_at_the_start_of_a_line(tmp_path: Path) -> None:
    content = BOM + lines({"text": "a"}) + BOM + lines({"text": "b"})
    assert read(write(tmp_path / "a.jsonl", content)) == ["a", "b"]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_a_list_or_one_object_or_lines(indent: int | None, tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    path = tmp_path / "a.json"
    assert read(write(path, json.dumps(rows, indent=indent))) == ["a", "b"]
    assert read(write(path, json.dumps(rows[0], indent=indent))) == ["a"]
    assert read(write(path, lines(*rows))) == ["a", "b"]
    path.write_text(json.dumps([*rows, {"text": 3}], indent=indent))
    assert refusal(path).startswith('item 3: the field "text" is a number, not a string')


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "a number"), (0.5, "a number"), (None, "null"), (True, "true or false"),
     (["a"], "a list"), ({"a": "b"}, "an object")],
)  # fmt: skip
def test_a_text_that_is_no_string_is_named_with_its_line(
    value: object, kind: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", "\n" + lines({"text": "a\u2028"}, {"text": value}))
    found = f'line 3: the field "text" is {kind}, not a string; '
    assert refusal(path) == found + "correct the file"
    path = write(tmp_path / "a.jsonl", "\n\n" + lines({"text": value, "body": "a"}))
    assert refusal(path) == found + 'choose calib.field= from "body"'


def test_another_field_is_read_and_a_missing_one_named_with_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines({"content": "a", "url": "b"}))
    assert read(path, "content") == ["a"]
    found = 'line 1 has no field "text"; choose calib.field= from "content", "url"'
    assert refusal(path) == found
    assert refusal(write(path, lines("a"))).startswith("line 1 is a string, not an object")
    assert "line 2 is not JSON" in refusal(write(path, lines({"text": "a"}) + '{"text": "b\n'))
    assert "line 1 is not JSON" in refusal(write(path, "[" * 100_000))


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "ok \\ud83d\\ude00"}\n{"text": "ab\\ud83d"}\n')
    assert refusal(path).startswith('line 2: the field "text" contains half a surrogate pair')


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.json"])
@pytest.mark.parametrize("blank", [" \n\t\r\n", BOM, f"{BOM}\n\n"])
def test_a_file_of_blanks_is_refused(name: str, blank: str, tmp_path: Path) -> None:
    assert "only blanks" in refusal(write(tmp_path / name, blank))
    if "json" in name:
        assert "only blanks" in refusal(write(tmp_path / name, lines({"text": " "}, {"text": ""})))


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.json.gz"])
def test_damaged_compression_is_named(name: str, tmp_path: Path) -> None:
    whole = gzip.compress(lines({"text": "a" * 99}).encode())
    flipped = whole[:-6] + bytes([whole[-6] ^ 255]) + whole[-5:]
    nonsense = whole[:10] + b"\xff" * 20
    for content in (b"plain", whole[:-9], whole[:20], flipped, whole + b"rest", nonsense):
        (tmp_path / name).write_bytes(content)
        assert "not a gzip file, or damaged" in refusal(tmp_path / name)


def test_other_encodings_are_named(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl", "a.txt.gz"):
        assert "save it as UTF-8" in refusal(write(tmp_path / name, "abc".encode("utf-16")))
        assert "byte 1" in refusal(write(tmp_path / name, b"a\xffb"))


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_column_of_parquet_is_read(kind: pa.DataType, tmp_path: Path) -> None:
    texts = pa.array(["a\u2028", "", "b"], kind)
    path = parquet(tmp_path / "A.Parquet", content=texts, text=pa.array(["x"] * 3))
    assert read(path) == ["x"] * 3
    assert read(path, "content") == ["a\u2028", "", "b"]
    path = parquet(tmp_path / "b.parquet", text=pa.array(["a", "b", "a"]).dictionary_encode())
    assert read(path) == ["a", "b", "a"]


def test_a_wrong_column_of_parquet_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", body=["a", None], n=[1, 2])
    assert refusal(path) == 'no column "text"; choose calib.field= from "body", "n"'
    assert refusal(path, "n").startswith('the column "n" holds int64, not strings')
    assert refusal(path, "body").startswith('row 2: "body" is null')
    path.write_bytes(path.read_bytes()[:-30])
    assert "not a parquet file, or damaged" in refusal(path)
    assert "only blanks" in refusal(parquet(path, text=[" ", ""]))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(RequestError, match=r"a\.jsonl: a folder"):
        refuse_unknown("calib.dataset", str(tmp_path / "a.jsonl"))
    for name in ("a.csv", "a.gz", "a.parquet.gz", "jsonl", "~nobody-here/a.txt"):
        with pytest.raises(RequestError, match=rf"calib\.dataset={name}"):
            refuse_unknown("calib.dataset", name)
