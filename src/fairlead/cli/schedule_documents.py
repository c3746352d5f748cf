"""Files of API objects, as documents that know where they stand, so that every error can name file and document."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fairlead.cli.failure import Failed

Object = dict[str, Any]

_SUFFIXES = (".yaml", ".yml", ".json")
_MOST_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file. `number` counts the file's documents from 1, `item` those of a List from 0."""

    file: str
    number: int
    obj: Object
    item: int | None = None

    @property
    def where(self) -> str:
        """File, document, and which object it is, as far as it says so."""
        place = f"{self.file}, document {self.number}" + (f", items[{self.item}]" if self.item is not None else "")
        named = self.name
        return f"{place} ({named})" if named else place

    @property
    def name(self) -> str:
        """Kind, namespace and name as they are written; "" where there is no kind."""
        kind, metadata = self.obj.get("kind"), self.obj.get("metadata")
        if not isinstance(kind, str):
            return ""
        if not isinstance(metadata, dict):
            return kind
        name = metadata.get("name") or metadata.get("generateName") or ""
        namespace = metadata.get("namespace")
        return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}".rstrip()


class BadDocuments(Failed):
    """Documents that cannot be used; every one with its file, its number, the field, the value and what to do."""

    def __init__(self, errors: Sequence[str]) -> None:
        shown = list(errors[:_MOST_ERRORS])
        if len(errors) > _MOST_ERRORS:
            shown.append(f"… and {len(errors) - _MOST_ERRORS} more")
        super().__init__("\n  ".join(shown) if len(shown) == 1 else "\n  ".join(["the files have errors:", *shown]))
        self.errors = tuple(errors)


def read_documents(files: Sequence[Path]) -> list[Document]:
    """Every object of the files ("-" is stdin; of a folder, its .yaml, .yml and .json files), Lists taken apart.

    Raises BadDocuments.
    """
    found: list[Document] = []
    errors: list[str] = []
    for file in _all_files(files):
        try:
            for document in _documents(file):
                found += _items(document)
        except Failed as error:
            errors.append(str(error))
    if errors:
        raise BadDocuments(errors)
    if not found:
        raise Failed(f"{', '.join(map(str, files))}: no API objects in there; give YAML or JSON documents with a kind")
    return found


def _all_files(files: Sequence[Path]) -> Iterator[Path]:
    for file in files:
        if str(file) == "-" or not file.is_dir():
            yield file
            continue
        inside = sorted(each for each in file.iterdir() if each.suffix in _SUFFIXES)
        if not inside:
            raise Failed(f"{file}: the folder has no {', '.join(_SUFFIXES)} files; name files")
        yield from inside


def _documents(file: Path) -> Iterator[Document]:
    name = "stdin" if str(file) == "-" else str(file)
    for number, obj in enumerate(_parse(_read(file, name), name), 1):
        if obj is None:
            continue
        if not isinstance(obj, dict):
            raise Failed(
                f"{name}, document {number}: expected a mapping with apiVersion, kind and metadata, "
                f"found {type(obj).__name__} {str(obj)[:40]!r}"
            )
        yield Document(name, number, obj)


def _read(file: Path, name: str) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise Failed(f"{name}: cannot be read: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{name}: is not text (byte {error.start} is no UTF-8); give YAML or JSON") from error


def _parse(text: str, name: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        # Large dumps are JSON, which is read twenty times as fast as YAML.
        try:
            return [msgspec.json.decode(text)]
        except msgspec.DecodeError:
            pass
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Failed(f"{name}: {place}not YAML: {getattr(error, 'problem', None) or error}") from error
    except (ValueError, RecursionError) as error:
        raise Failed(f"{name}: not YAML: {error}") from error


def _items(document: Document) -> list[Document]:
    obj = document.obj
    kind, items = obj.get("kind"), obj.get("items")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        return [document]
    of = {} if kind == "List" else {"apiVersion": obj.get("apiVersion"), "kind": kind.removesuffix("List")}
    found = []
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise Failed(f"{document.where}: items[{number}]: expected an object, found {type(item).__name__}")
        found.append(Document(document.file, document.number, {**of, **item}, number))
    return found


class _Loader(yaml.CSafeLoader):
    """YAML whose times stay text, as the API has them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
