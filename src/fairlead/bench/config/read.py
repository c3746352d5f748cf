"""A benchmark as people write it: YAML, shorthand for lengths, and errors that name field, value and remedy."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec

from fairlead.bench.config.benchmark import Benchmark
from fairlead.bench.config.check import check
from fairlead.bench.config.error import ConfigError

Document: TypeAlias = dict[str, Any]

_LENGTHS = {"prompt_tokens", "output_tokens", "result_tokens", "definition_tokens", "tokens", "turns", "calls"}
_ERROR = re.compile(r"(?P<said>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<how>contains unknown|missing required) field `(?P<field>.*)`")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def read_config(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = (), files: bool = True) -> Benchmark:
    """Of a YAML file, YAML text (a `str`, unless it ends in .yaml, .yml or .json), or an object.

    `overrides` are `path.to.field=value`, with YAML values, and numbers for places in lists. `files`:
    whether those that it names are to be on this machine. Raises ConfigError."""
    document = _document(source)
    for override in overrides:
        _assign(document, override)
    document = _written_out(document)
    try:
        config = msgspec.convert(document, Benchmark, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(str(error), document)) from None
    check(config, files)
    return config


def _document(source: Path | str | Mapping[str, Any]) -> Document:
    if isinstance(source, Mapping):
        return _object(source)
    import yaml

    if isinstance(source, str) and "\n" not in source and source.endswith((".yaml", ".yml", ".json")):
        source = Path(source)
    name = str(source) if isinstance(source, Path) else "the configuration"
    try:
        document = yaml.safe_load(source.read_text("utf-8") if isinstance(source, Path) else source)
    except FileNotFoundError:
        raise ConfigError(f"{name} is not there: give a YAML file, or an address with http:// in front") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{name} holds {_kind_of(document)}, expected an object with targets, load and content")
    return _object(document)


def _object(value: Mapping[Any, Any]) -> Document:
    return {str(key): _copied(each) for key, each in value.items()}


def _copied(value: Any) -> Any:
    """With texts for keys (YAML makes numbers of some), and nothing of the caller's."""
    if isinstance(value, Mapping):
        return _object(value)
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


def _assign(document: Document, override: str) -> None:
    import yaml

    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"{override!r} sets nothing: write path.to.field=value, e.g. load.stages.0.rate_per_s=20")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is {text!r}, which is no YAML: {' '.join(str(error).split())}") from None
    at: Any = document
    for place, name in enumerate(names):
        last = place == len(names) - 1
        if isinstance(at, list):
            if not name.isdecimal() or int(name) >= len(at):
                said = ".".join(names[: place + 1])
                raise ConfigError(f"{said} is not there: {'.'.join(names[:place])} has {len(at)} elements, from 0 on")
            key: Any = int(name)
        elif isinstance(at, dict):
            key = name
        else:
            raise ConfigError(f"{path} cannot be set: {'.'.join(names[:place])} is {_shown(at)}, which has no fields")
        if last:
            at[key] = value
        else:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]


def _written_out(document: Document) -> Document:
    """Shorthand in full: a number for a fixed length, and the kinds that fields tell by themselves."""
    document = dict(document)
    if isinstance(content := document.get("content"), dict):
        document["content"] = _lengths(content)
        document["content"].setdefault("kind", "synthetic")
    if isinstance(load := document.get("load"), dict) and "kind" not in load:
        first = load["stages"][0] if isinstance(load.get("stages"), list) and load["stages"] else None
        if isinstance(first, dict):
            document["load"] = {"kind": "closed" if "users" in first else "open", **load}
    return document


def _lengths(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_lengths(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and name in _LENGTHS:
        return {"kind": "fixed", "tokens": value}
    if not isinstance(value, dict):
        return value
    if name in _LENGTHS:
        kind = "uniform" if "low" in value and "mean" not in value else "lognormal" if "mean" in value else "fixed"
        return {"kind": kind, **value}
    return {key: _lengths(each, key) for key, each in value.items()}


# What a validation error means


def _explained(message: str, document: Document) -> str:
    """With the path as people write it, the value that is there, and what the place takes."""
    found = _ERROR.fullmatch(message)
    said, path = (found["said"], found["path"] or "") if found else (message, "")
    value, struct = _at(document, path)
    name = path.lstrip(".")
    if field := _FIELD.fullmatch(said):
        inner = f"{name}.{field['field']}".lstrip(".")
        fields = list(struct.__struct_fields__) if struct is not None else []
        if field["how"].startswith("missing"):
            return f"{inner} is missing: {_remedy(field['field'])}"
        near = difflib.get_close_matches(field["field"], fields, 1)
        guess = f": did you mean {near[0]}?" if near else ":"
        return f"{inner} is no field{guess} {name or 'a benchmark'} has {', '.join(fields)}"
    where = name or "the configuration"
    if said.startswith("Invalid value") and name.endswith("kind"):
        kinds = ", ".join(_kinds(document, path.rpartition(".")[0]))
        return f"{where} is {_shown(value)}, expected one of {kinds}"
    if said.startswith("Invalid enum value"):
        choices = ", ".join(_choices(document, path))
        return f"{where} is {_shown(value)}, expected one of {choices}"
    if found := re.fullmatch(r"Expected `(.*?)`(.*?)(?:, got `.*`)?", said):
        return f"{where} is {_shown(value)}, expected {_plain(found[1])}{found[2]}"
    return f"{where}: {said}"


def _remedy(field: str) -> str:
    return {
        "targets": "say whom to ask, e.g. targets: [{url: http://127.0.0.1:8000, model: m}]",
        "load": "say when to ask, e.g. load: {kind: open, stages: [{rate_per_s: 10, seconds: 30}]}",
        "url": "give the server's address, e.g. http://127.0.0.1:8000",
        "kind": "say which kind it is",
    }.get(field, "it must be given")


def _plain(types_said: str) -> str:
    words = {"float": "a number", "int": "a whole number", "str": "a text", "bool": "true or false", "null": "nothing"}
    return " or ".join(words.get(t.strip(), _object_or_list(t.strip())) for t in types_said.split("|"))


def _object_or_list(said: str) -> str:
    return {"object": "an object", "array": "a list"}.get(said, said)


def _at(document: Document, path: str) -> tuple[Any, Any]:
    """The value at a path, and the struct that the place takes, as far as both can be followed."""
    value: Any = document
    kind: Any = Benchmark
    struct: Any = Benchmark
    for step in _STEP.finditer(path):
        index = step["index"]
        if index == "...":
            # A key or value of a mapping, and msgspec does not say which.
            return value, None
        if index is not None:
            value = value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
            kind = next((each for each in get_args(_bare(kind)) if each is not Ellipsis), Any)
        else:
            value = value.get(step["name"]) if isinstance(value, dict) else None
            kind = get_type_hints(struct).get(step["name"], Any) if struct is not None else Any
        struct = _struct(kind, value)
    return value, struct


def _bare(kind: Any) -> Any:
    """Of `X | None` and `Annotated[X, …]`: X."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
            continue
        if get_origin(kind) in (Union, types.UnionType):
            others = [each for each in get_args(kind) if each is not type(None)]
            if len(others) == 1:
                kind = others[0]
                continue
        return kind


def _struct(kind: Any, value: Any) -> Any:
    structs = [each for each in _members(kind) if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    if len(structs) == 1:
        return structs[0]
    tag = value.get("kind") if isinstance(value, dict) else None
    return next((each for each in structs if each.__struct_config__.tag == tag), None)


def _members(kind: Any) -> Sequence[Any]:
    kind = _bare(kind)
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _hint(document: Document, path: str) -> Any:
    """The type of the field at the end of a path."""
    before, _, field = path.rpartition(".")
    _, struct = _at(document, before)
    return get_type_hints(struct).get(field, Any) if struct is not None else Any


def _kinds(document: Document, path: str) -> list[str]:
    hint = _hint(document, re.sub(r"\[\d+\]$", "", path))
    members = _members(hint) if get_origin(_bare(hint)) is not tuple else _members(get_args(_bare(hint))[0])
    return [str(each.__struct_config__.tag) for each in members if hasattr(each, "__struct_config__")]


def _choices(document: Document, path: str) -> list[str]:
    return [str(each) for each in get_args(_bare(_hint(document, path)))]


def _kind_of(value: Any) -> str:
    names = {"list": "a list", "str": "a text", "NoneType": "nothing", "int": "a number", "float": "a number"}
    return names.get(type(value).__name__, type(value).__name__)


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
