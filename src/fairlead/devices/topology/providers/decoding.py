"""JSON and YAML of sources, into typed structs with errors that name the source and the field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

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


def decode_yaml(raw: bytes | str, kind: type[T], source: str) -> T:
    try:
        return msgspec.yaml.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise SourceError(f"{source}: {error}") from error
    except RecursionError as error:
        raise SourceError(f"{source}: nested too deeply") from error


def convert(value: Any, kind: type[T], source: str) -> T:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source}: {error}") from error
