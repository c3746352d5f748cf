"""A foreign object, read so that nothing is dropped in silence.

Every field is either taken by whoever converts it, or, when the reading is closed, named as lost. Fields of the wrong
type are refused with their path. null counts as absent, as API servers have it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from fairlead.serving.convert.report import BadManifest, Loss, Severity

Json = dict[str, Any]
Reasons = Mapping[str, tuple[Severity, str]]
"""Name of a field, at whatever depth -> what is said where nobody took it."""

NO_COUNTERPART = "Fairlead has no counterpart for it"
_PLAIN = re.compile(r"[A-Za-z_][\w-]*\Z")


def joined(field: str, key: str) -> str:
    """Path of a key below a field; keys that are no plain words stand in brackets."""
    if not _PLAIN.match(key):
        return f"{field}[{key}]"
    return f"{field}.{key}" if field else key


class Reading:
    """A mapping of the object. `losses` is shared by all readings of one object."""

    def __init__(self, value: Mapping[str, Any], field: str, losses: list[Loss]) -> None:
        self.value, self.field, self.losses = value, field, losses
        self._taken: set[str] = set()
        self._below: list[Reading] = []

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def path(self, key: str) -> str:
        return joined(self.field, key)

    def keys(self) -> list[str]:
        """Keys that have a value."""
        return [key for key, value in self.value.items() if value is not None]

    def peek(self, key: str) -> Any:
        """The value, which is not yet taken by that."""
        return self.value.get(key)

    def take(self, key: str) -> Any:
        """The value as it is, without the nulls in it; None where there is none."""
        self._taken.add(key)
        return without_nulls(copy.deepcopy(self.value.get(key)))

    def text(self, key: str) -> str:
        """Empty where there is none. Raises BadManifest."""
        return str(self._typed(key, str, "expected text") or "")

    def boolean(self, key: str) -> bool | None:
        """Raises BadManifest."""
        found = self._typed(key, bool, "expected true or false")
        return None if found is None else bool(found)

    def integer(self, key: str, least: int = 0, most: int = 2**31 - 1) -> int | None:
        """A number outside of what Fairlead takes is named as lost. Raises BadManifest for what is no whole number."""
        found = self._typed(key, int, "expected a whole number")
        if isinstance(found, bool):
            raise BadManifest(self.path(key), found, "expected a whole number")
        if found is None or least <= found <= most:
            return None if found is None else int(found)
        self.say(key, Severity.LOST, f"Fairlead takes {least} to {most} here; set the field by hand")
        return None

    def texts(self, key: str) -> list[str]:
        """Raises BadManifest."""
        found = self._typed(key, list, "expected a list of texts") or []
        for i, item in enumerate(found):
            if not isinstance(item, str):
                raise BadManifest(f"{self.path(key)}[{i}]", item, "expected text (put numbers into quotes)")
        return list(found)

    def text_map(self, key: str) -> dict[str, str]:
        """Raises BadManifest."""
        found = self._typed(key, dict, "expected an object of texts") or {}
        for name, item in found.items():
            if not isinstance(item, str):
                raise BadManifest(joined(self.path(key), str(name)), item, "expected text (put numbers into quotes)")
        return dict(found)

    def child(self, key: str) -> Reading:
        """The object there; an empty one where there is none. Raises BadManifest."""
        found = self._typed(key, dict, "expected an object") or {}
        for name in found:
            if not isinstance(name, str):
                raise BadManifest(self.path(key), name, "expected names of fields (put numbers into quotes)")
        below = Reading(found, self.path(key), self.losses)
        self._below.append(below)
        return below

    def children(self, key: str) -> list[Reading]:
        """The objects of a list. Raises BadManifest."""
        found = self._typed(key, list, "expected a list of objects") or []
        below = []
        for i, item in enumerate(found):
            if not isinstance(item, dict):
                raise BadManifest(f"{self.path(key)}[{i}]", item, "expected an object")
            below.append(Reading(item, f"{self.path(key)}[{i}]", self.losses))
        self._below += below
        return below

    def say(self, key: str, severity: Severity, why: str) -> None:
        """Take the field and say what became of it; nothing where it is absent."""
        if key in self:
            self.losses.append(Loss(self.path(key), self.take(key), severity, why))

    def close(self, reasons: Reasons) -> None:
        """Name everything that nobody took."""
        for key in self.keys():
            if key not in self._taken and not is_empty(self.value[key]):
                severity, why = reasons.get(key, (Severity.LOST, NO_COUNTERPART))
                self.say(key, severity, why)
        for below in self._below:
            below.close(reasons)

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        self._taken.add(key)
        found = self.value.get(key)
        if found is not None and not isinstance(found, kind):
            raise BadManifest(self.path(key), found, expected)
        return found


def is_empty(value: Any) -> bool:
    """Whether there is no leaf below."""
    if isinstance(value, Mapping):
        return all(is_empty(item) for item in value.values())
    if isinstance(value, list):
        return all(is_empty(item) for item in value)
    return value is None


def without_nulls(value: Any) -> Any:
    """The value with fields that are null left out: in an overlay they would take something away."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
