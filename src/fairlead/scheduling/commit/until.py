"""Waiting for an object to become what one needs, on an informer's copy: no request, no polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fairlead.kube.informer import Handler, Informer
from fairlead.kube.resources import ObjectKey, key_of

T = TypeVar("T")


@dataclass(slots=True)
class _Wait(Generic[T]):
    check: Callable[[T | None], bool]
    held: asyncio.Future[None]


class Waiting(Generic[T]):
    """Whoever waits for objects of one informer. `check` is called with each state, None for an object that is gone;
    what it raises is raised to the one who waits."""

    def __init__(self, informer: Informer[T]) -> None:
        self._store = informer.store
        self._waits: dict[ObjectKey, list[_Wait[T]]] = {}
        informer.add_handler(Handler(self._seen, lambda _, new: self._seen(new), self._gone))

    async def until(self, namespace: str, name: str, check: Callable[[T | None], bool], timeout_s: float) -> None:
        """Raises TimeoutError when `check` has not held in time."""
        if check(self._store.get(name, namespace)):
            return
        key = ObjectKey(namespace, name)
        wait: _Wait[T] = _Wait(check, asyncio.get_running_loop().create_future())
        self._waits.setdefault(key, []).append(wait)
        try:
            async with asyncio.timeout(timeout_s):
                await wait.held
        finally:
            waits = self._waits[key]
            waits.remove(wait)
            if not waits:
                del self._waits[key]

    def _seen(self, obj: T) -> None:
        self._tell(key_of(obj), obj)

    def _gone(self, obj: T) -> None:
        self._tell(key_of(obj), None)

    def _tell(self, key: ObjectKey, obj: Any) -> None:
        for wait in self._waits.get(key, ()):
            if wait.held.done():
                continue
            try:
                if wait.check(obj):
                    wait.held.set_result(None)
            except Exception as error:
                wait.held.set_exception(error)
