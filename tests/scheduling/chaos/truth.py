"""What an API server has, and what a planner has been told of it: late, in any order across objects, more than once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

Key = tuple[str, str, str]
"""Kind, namespace, name."""


def key_of(obj: Any) -> Key:
    if isinstance(obj, dict):
        meta = obj["metadata"]
        return f"{obj['apiVersion']}/{obj['kind']}", meta.get("namespace", ""), meta["name"]
    return type(obj).__name__, obj.metadata.namespace, obj.metadata.name


def uid_of(obj: Any) -> str:
    return "" if isinstance(obj, dict) else str(obj.metadata.uid)


class Truth:
    """Objects by kind and name. For each object an informer tells an unbroken story, as those of Fairlead do."""

    def __init__(self) -> None:
        self.objects: dict[Key, Any] = {}
        self.told: dict[Key, Any] = {}
        self.late: dict[Key, None] = {}
        """What has changed and was not told yet."""

    def put(self, obj: Any) -> None:
        key = key_of(obj)
        self.objects[key] = obj
        self.late[key] = None

    def drop(self, key: Key) -> None:
        if self.objects.pop(key, None) is not None:
            self.late[key] = None

    def get(self, kind: str, name: str, namespace: str = "") -> Any:
        return self.objects.get((kind, namespace, name))

    def all(self, kind: str) -> list[Any]:
        return [obj for key, obj in self.objects.items() if key[0] == kind]

    def told_of(self, kind: str) -> Iterator[Any]:
        return (obj for key, obj in self.told.items() if key[0] == kind)

    def edit(self, obj: Any, **parts: dict[str, Any]) -> Any:
        """An object with other fields in its metadata, spec or status."""
        changed = {part: replace(getattr(obj, part), **fields) for part, fields in parts.items()}
        new = replace(obj, **changed)
        self.put(new)
        return new

    def tell(self, key: Key, audience: Any) -> None:
        """The newest state of an object, once more if it was told already."""
        self.late.pop(key, None)
        now, before = self.objects.get(key), self.told.get(key)
        if before is not None and (now is None or uid_of(now) != uid_of(before)):
            audience.lose(before)
            del self.told[key]
        if now is not None:
            audience.see(now)
            self.told[key] = now

    def tell_some(self, audience: Any, dice: random.Random) -> None:
        late = list(self.late)
        dice.shuffle(late)
        for key in late[: dice.randint(0, len(late))]:
            self.tell(key, audience)
        if self.told and dice.random() < 0.05:
            self.tell(dice.choice(list(self.told)), audience)

    def tell_all(self, audience: Any, dice: random.Random) -> None:
        late = list(self.late)
        dice.shuffle(late)
        for key in late:
            self.tell(key, audience)
