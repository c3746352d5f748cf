"""JSON and YAML of sources, into typed structs with errors that name the source and the field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from fairlead.devices.cdi.yaml_values import YamlError, load_yaml
from fairlead.devices.topology.errors import SourceError

T = TypeVar("T")


def decode_json(raw: bytes | str, kind: type[T], source: str) -> T:
    """Raises SourceError: cut off, or a field of another type than expected."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source}: {error}") from error
    except msgspec.DecodeError as error:
        raise SourceError(f"{source}: not whole JSON ({error}); was it cut off?") from error
    except RecursionError as error:
        raise SourceError(f"{source}: nested too deeply") from error


def decode_yaml(raw: bytes | str, kind: type[T], source: str) -> T:
    """Raises SourceError: no YAML, a key that is there twice, deep nesting, aliases that unfold into millions of
    values, or a field of another type than expected."""
    try:
        value, duplicates = load_yaml(raw if isinstance(raw, str) else raw.decode("utf-8-sig"), letters=False)
    except UnicodeDecodeError as error:
        raise SourceError(f"{source}: not UTF-8 (byte {error.start})") from error
    except YamlError as error:
        raise SourceError(f"{source}: {error}") from error
    if duplicates:
        raise SourceError(f"{source}: {duplicates[0]}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source}: {error}") from error


def convert(value: Any, kind: type[T], source: str) -> T:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source}: {error}") from error
