"""What a conversion says of itself: which field of the foreign object did not come over as it was, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a person has to care."""

    LOST = "lost"
    """Nothing in the result does it."""
    CHANGED = "changed"
    """Something in the result does it, in another way."""
    ATTENTION = "needs attention"
    """The result may need a hand before it works as the original did."""
    NOTE = "note"
    """Nothing to do; said so that nobody looks for it."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One field of a foreign object. `why` is a sentence that ends with what to do, where there is something to do."""

    field: str
    value: Any
    severity: Severity
    why: str


class BadManifest(ValueError):
    """An object that is not what its kind says: the field, the value and what was expected there."""

    def __init__(self, field: str, value: Any, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}, found {shown(value)}")
        self.field, self.value, self.remedy = field, value, remedy


class Unconvertible(Exception):
    """Nothing can be made of the object; the field that is the reason, its value and what to do."""

    def __init__(self, field: str, value: Any, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field, self.value, self.why = field, value, why


def shown(value: Any, length: int = 60) -> str:
    """A value for a message: its type and how it begins."""
    if value is None:
        return "null"
    kind = {dict: "an object", list: "a list", str: "text", bool: "a boolean"}.get(type(value), type(value).__name__)
    text = repr(value)
    return f"{kind} {text if len(text) <= length else text[: length - 1] + '…'}"
