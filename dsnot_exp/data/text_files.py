"""Reads the user's text files: .txt, .jsonl, .json and .parquet, also compressed by gzip."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from dsnot_exp.data.corpora import FIELD, Corpus, suffix_of
from dsnot_exp.utils.errors import RequestError, first_line

BOM = "\ufeff"
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # how a UTF-16 text begins
MOST_NAMES = 10  # of fields, in a message
BLANK = " \t\r\n"  # of JSON; other blanks, such as U+2028, are text
KINDS = {bool: "true or false", int: "a number", float: "a number", dict: "an object",
         list: "a list", type(None): "null"}  # fmt: skip


def read_file(what: str, name: str, field: str = FIELD) -> Corpus:
    """Read a text (.txt), or documents (all others) from the field or column `field`.

    what: the option and its value, for error messages
    """
    path, kind = Path(os.path.expanduser(name)), suffix_of(name)
    if kind == ".parquet":
        documents = _column(what, path, field)
    else:
        text = _text(what, path)
        if kind == ".txt":
            documents = [text]
        else:
            documents = [
                _document(what, place, value, field)
                for place, value in _values(what, text, kind == ".json")
            ]
    if not any(document.strip() for document in documents):
        raise RequestError(f"{what}: holds no text, only blanks; choose another file")
    if kind == ".txt":
        return Corpus(documents, "")
    return Corpus(documents, "\n\n", by_document=True)


def _text(what: str, path: Path) -> str:
    """The content of a UTF-8 file, decompressed, without a byte order mark."""
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        if content.startswith(UTF16):
            raise RequestError(f"{what}: UTF-16 text; save it as UTF-8") from error
        raise RequestError(f"{what}: not UTF-8 text (byte {error.start})") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RequestError(
            f"{what}: not a gzip file, or damaged ({first_line(error)}); get it again"
        ) from error
    except OSError as error:
        raise RequestError(f"{what}: cannot be read ({error.strerror})") from error


def _values(what: str, text: str, whole: bool) -> Iterable[tuple[str, Any]]:
    """The place and the value of every document of a JSON text: a value per line, or, if the text
    may be one `whole` value, the items of a list."""
    if whole:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass  # a value per line, then
        else:
            items = value if isinstance(value, list) else [value]
            yield from ((f"item {number}", item) for number, item in enumerate(items, 1))
            return
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(BLANK).removeprefix(BOM)  # files that were joined have several
        if not line:
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(
                f"{what}: line {number} is not JSON ({first_line(error)}); expected one object "
                "per line"
            ) from error
        yield f"line {number}", value


def _document(what: str, place: str, value: Any, field: str) -> str:
    """The text of one JSON object."""
    if not isinstance(value, dict):
        kind = KINDS.get(type(value), "a string")
        raise RequestError(f'{what}: {place} is {kind}, not an object with a field "{field}"')
    if field not in value:
        _refuse_field(what, f'{place} has no field "{field}"', field, value)
    text = value[field]
    if not isinstance(text, str):
        problem = f'{place}: the field "{field}" is {KINDS[type(text)]}, not a string'
        _refuse_field(what, problem, field, value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f'{what}: {place}: the field "{field}" contains half a surrogate pair '
            f"(character {error.start}); it is not Unicode text"
        ) from error
    return text


def _column(what: str, path: Path, field: str) -> list[str]:
    """The texts of one column of a parquet file."""
    import pyarrow.parquet as parquet  # slow import
    from pyarrow import ArrowException, types

    try:
        schema = parquet.read_schema(path)
        if field not in schema.names:
            _refuse_field(what, f'no column "{field}"', field, schema.names)
        kind = schema.field(field).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        strings = (types.is_string, types.is_large_string, types.is_string_view)
        if not any(is_(kind) for is_ in strings):
            problem = f'the column "{field}" holds {kind}, not strings'
            _refuse_field(what, problem, field, schema.names)
        documents = parquet.read_table(path, columns=[field])[field].to_pylist()
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{what}: not a parquet file, or damaged ({first_line(error, 160)}); get it again"
        ) from error
    if None in documents:
        raise RequestError(f'{what}: row {documents.index(None) + 1}: "{field}" is null')
    return documents


def _refuse_field(what: str, problem: str, field: str, names: Iterable[str]) -> NoReturn:
    """Raise, with the fields that can be chosen instead of `field`."""
    key = "eval.field" if what.startswith("eval") else "calib.field"
    others = [f'"{name}"' for name in names if name != field][:MOST_NAMES]
    remedy = f"choose {key}= from {', '.join(others)}" if others else "correct the file"
    raise RequestError(f"{what}: {problem}; {remedy}")
