"""Rows of a file of prompts, streamed: JSON lines, one JSON array (as ShareGPT comes), CSV, Parquet."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import msgspec

Row: TypeAlias = dict[str, Any]
_PIECE = 2**20
_LONGEST_ROW = 64 * 2**20
_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "sharegpt", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
}  # fmt: skip


class BadRow(ValueError):
    """One row that no request can be made of: which column, what it holds, what it should hold."""


def file_rows(path: Path, form: str | None) -> Iterator[tuple[int, Row]]:
    """(number of the line or row from 1, row). Raises ValueError that names file, row and remedy."""
    form = form or _form_of(path)
    try:
        if form == "parquet":
            yield from _parquet(path)
            return
        with _opened(path) as file:
            yield from (_csv(file, path) if form == "csv" else _json(file, path))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"content.path: {path}: {reason}") from None


def _form_of(path: Path) -> str:
    name = path.with_suffix("") if path.suffix == ".gz" else path
    form = _SUFFIXES.get(name.suffix.lower())
    if form is None:
        raise ValueError(
            f"content.path is {str(path)!r}: its name does not say what it is; set content.form to jsonl, csv, parquet "
            "or sharegpt"
        )
    return form


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _json(file: TextIO, path: Path) -> Iterator[tuple[int, Row]]:
    """Whichever of the two it is: an array of objects, or an object a line."""
    first = file.read(1)
    while first and first.isspace():
        first = file.read(1)
    if first == "[":
        yield from _array(file, path)
        return
    for number, line in enumerate(_lines(file, first), 1):
        if line.isspace():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"content.path: {path}:{number}: the line is no JSON ({error}); correct it") from None
        if isinstance(row, str):
            row = {"prompt": row}
        yield number, _object(row, path, number)


def _lines(file: TextIO, first: str) -> Iterator[str]:
    line = first + file.readline(_LONGEST_ROW)
    while line:
        yield line
        line = file.readline(_LONGEST_ROW)


def _array(file: TextIO, path: Path) -> Iterator[tuple[int, Row]]:
    """Elements of an array that need not fit into memory."""
    decode = json.JSONDecoder().raw_decode
    text, at, number, piece = "", 0, 0, _PIECE
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if text.startswith("]", at):
            return
        try:
            row, at = decode(text, at)
        except (ValueError, RecursionError) as error:
            more = file.read(piece)
            if not more or len(text) - at > _LONGEST_ROW:
                raise ValueError(
                    f"content.path: {path}, row {number + 1}: the array breaks off, or is no JSON ({error})"
                ) from None
            text, at = text[at:] + more, 0
            piece *= 2  # so that a row longer than a piece is not tried again for every piece
            continue
        number, piece = number + 1, _PIECE
        yield number, _object(row, path, number)


def _object(row: Any, path: Path, number: int) -> Row:
    if not isinstance(row, dict):
        raise ValueError(f"content.path: {path}, row {number}: it is {type(row).__name__}, expected an object")
    return row


def _csv(file: TextIO, path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_LONGEST_ROW)
    reader = csv.DictReader(file, delimiter="\t" if ".tsv" in path.suffixes else ",", strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"content.path: {path}:{reader.line_num}: the row has not as many columns as the header, "
                    f"{len(reader.fieldnames or ())}"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"content.path: {path}:{reader.line_num}: no row of CSV ({error})") from None


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowException as error:
        raise ValueError(f"content.path: {path} is no Parquet file that can be read: {error}") from None
