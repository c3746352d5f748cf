"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "not supported"]


@dataclass(frozen=True, slots=True)
class Result:
    """One check's verdict; `reason` says what was seen, and is never empty for anything but a pass."""

    check: str
    outcome: Outcome
    reason: str = ""


class CheckFailed(Exception):
    """The server does not do what its adapter says."""


class NotSupported(Exception):
    """The server, or the way it was started, does not have what the check is about."""


def expect(holds: bool, otherwise: str) -> None:
    """Raises CheckFailed when it does not hold."""
    if not holds:
        raise CheckFailed(otherwise)
