"""How one engine behaves, as a file: its settings, the cost of its iterations and the overheads of its HTTP frontend.

A profile is what a calibration writes and what the server (`--costs`) and the fleet read:

    {"engine": {fields of EngineSettings}, "cost": {fields of LinearCost or MeasuredCost},
     "frontend": {fields of FrontendCost}}

Every part and every field may be absent and then has its default; a field that does not exist is an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fairlead.perf.measured import MeasuredCost
from fairlead.perf.step import LinearCost
from fairlead.simulator.engine.settings import EngineSettings

_Part = TypeVar("_Part")


class ProfileError(ValueError):
    """A profile that cannot be used; the message names file, field, value and remedy."""


@dataclass(frozen=True, slots=True)
class FrontendCost:
    """Seconds outside the engine: from a request's last byte to its submission (`request_s`, plus `prompt_token_s` for
    every prompt token: parsing and tokenising), and from a token to its bytes on the wire (`response_s`)."""

    request_s: float = 0.0
    prompt_token_s: float = 0.0
    response_s: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{each.name} is {value!r}; it is a finite number of seconds, 0 or more")


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One engine. `cost` is None where nothing is known of it."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    cost: LinearCost | MeasuredCost | None = None
    frontend: FrontendCost = field(default_factory=FrontendCost)


def load_profile(path: Path) -> EngineProfile:
    """The profile in a JSON file. Raises ProfileError."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"cannot read the profile {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not JSON: {error}") from error
    try:
        return parse_profile(content)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error


def parse_profile(content: Any) -> EngineProfile:
    """The profile that a JSON object describes. Raises ProfileError."""
    if not isinstance(content, dict):
        raise ProfileError(f"a profile is an object with {_names(EngineProfile)}, not {content!r:.60}")
    _no_others("", content, EngineProfile)
    cost = content.get("cost")
    return EngineProfile(
        _part("engine", content.get("engine", {}), EngineSettings),
        None if cost is None else _cost(cost),
        _part("frontend", content.get("frontend", {}), FrontendCost),
    )


def save_profile(profile: EngineProfile, path: Path) -> None:
    """Write a profile in the form that `load_profile` reads."""
    content = asdict(profile)
    if profile.cost is None:
        del content["cost"]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _cost(content: Any) -> LinearCost | MeasuredCost:
    """Told apart by the table that only one of them has."""
    if isinstance(content, dict) and "batch" in content:
        return _part("cost", content, MeasuredCost)
    return _part("cost", content, LinearCost)


def _part(where: str, content: Any, kind: type[_Part]) -> _Part:
    if not isinstance(content, dict):
        raise ProfileError(f"{where} is {content!r:.60}: it must be an object with {_names(kind)}")
    _no_others(f"{where}.", content, kind)
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise ProfileError(f"{where}: {error}") from error


def _no_others(where: str, content: dict[str, Any], kind: type) -> None:
    known = {each.name for each in fields(kind)}
    for name in content:
        if name not in known:
            raise ProfileError(f"{where}{name} does not exist: take {_names(kind)}")


def _names(kind: type) -> str:
    return ", ".join(each.name for each in fields(kind))
