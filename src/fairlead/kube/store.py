"""The local copy of a collection: objects by key, with indexes kept current.

What is stored is shared by all readers and must not be changed; structs are frozen, dicts are on their honour.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Generic, TypeVar

from fairlead.kube.resources import ObjectKey, key_of, labels_of, owners_of

T = TypeVar("T")
IndexFunction = Callable[[T], Collection[str]]
"""The values under which an object is found: none, one or several."""


def by_namespace(obj: object) -> Collection[str]:
    return (key_of(obj).namespace,)


def by_owner_uid(obj: object) -> Collection[str]:
    return [owner.uid for owner in owners_of(obj)]


def by_controller_uid(obj: object) -> Collection[str]:
    return [owner.uid for owner in owners_of(obj) if owner.controller]


def by_label(label: str) -> Callable[[object], Collection[str]]:
    """An index over the values of one label; objects without it are not in the index."""

    def values(obj: object) -> Collection[str]:
        value = labels_of(obj).get(label)
        return () if value is None else (value,)

    return values


class _Index(Generic[T]):
    def __init__(self, function: IndexFunction[T]) -> None:
        self.function = function
        # Index value -> key -> object, in order of arrival.
        self.buckets: dict[str, dict[ObjectKey, T]] = {}

    def put(self, key: ObjectKey, old: T | None, new: T) -> None:
        values = self.function(new)
        if old is not None:
            for value in self.function(old):
                if value not in values:
                    self._discard(value, key)
        for value in values:
            bucket = self.buckets.get(value)
            if bucket is None:
                bucket = self.buckets[value] = {}
            bucket[key] = new

    def remove(self, key: ObjectKey, old: T) -> None:
        for value in self.function(old):
            self._discard(value, key)

    def _discard(self, value: str, key: ObjectKey) -> None:
        bucket = self.buckets.get(value)
        if bucket is not None:
            bucket.pop(key, None)
            if not bucket:
                del self.buckets[value]


class Store(Generic[T]):
    """Objects by namespace and name. Informers write it; everyone else reads."""

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, T] = {}
        self._indexes: dict[str, _Index[T]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def get(self, name: str, namespace: str = "") -> T | None:
        return self._objects.get(ObjectKey(namespace, name))

    def get_key(self, key: ObjectKey) -> T | None:
        return self._objects.get(key)

    def keys(self) -> Sequence[ObjectKey]:
        return list(self._objects)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Keep an index from now on, over what is stored already too.

        Raises ValueError when `name` is taken by another function: two users would see each other's values.
        """
        existing = self._indexes.get(name)
        if existing is not None:
            if existing.function is not function:
                raise ValueError(f"index {name!r} exists with another function")
            return
        index = self._indexes[name] = _Index(function)
        for key, obj in self._objects.items():
            index.put(key, None, obj)

    def by_index(self, name: str, value: str) -> Sequence[T]:
        """The objects under a value of an index. Raises KeyError where there is no such index."""
        return list(self._indexes[name].buckets.get(value, {}).values())

    def index_values(self, name: str) -> Sequence[str]:
        """The values of an index that have at least one object."""
        return list(self._indexes[name].buckets)

    def put(self, key: ObjectKey, obj: T) -> T | None:
        """Store an object; returns what it replaced."""
        old = self._objects.get(key)
        self._objects[key] = obj
        for index in self._indexes.values():
            index.put(key, old, obj)
        return old

    def remove(self, key: ObjectKey) -> T | None:
        """Forget an object; returns it."""
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.remove(key, old)
        return old
