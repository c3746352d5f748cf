"""A local, current copy of a collection, and handlers told of each change.

An informer lists once (as a stream, where the server can), then watches from the list's version. A broken watch
resumes after the last version seen; a version that the server has forgotten (410) means a new list, which is compared
with the copy. Handlers see for each object an unbroken story: added, updated any number of times, deleted; never the
same version twice, whatever the connection does. What can get lost are versions between two that are seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, BadRequest, Gone, Invalid
from fairlead.kube.resources import ObjectKey, Resource, WatchEvent, key_of, resource_version_of, uid_of
from fairlead.kube.selectors import FieldSelector, Selector
from fairlead.kube.store import IndexFunction, Store
from fairlead.kube.transport import Unreachable

_LOG = logging.getLogger("fairlead.kube.informer")
T = TypeVar("T")
U = TypeVar("U")

# A server that knows no streaming lists but ignores the parameter never says that the initial events are over.
_INITIAL_SILENCE_S = 10.0
_FAILURES_BEFORE_RELIST = 3
# A watch that lived this long was healthy: the next failure is the first of a new row.
_HEALTHY_WATCH_S = 10.0


@dataclass(frozen=True, slots=True)
class Handler(Generic[T]):
    """What to call on changes. Calls are synchronous, in order, and must be short: put a key on a queue."""

    add: Callable[[T], None] | None = None
    update: Callable[[T, T], None] | None = None
    """Called with the old object and the new one."""
    delete: Callable[[T], None] | None = None
    """Called with the last state that is known."""

    @staticmethod
    def every(call: Callable[[T], None]) -> Handler[T]:
        """The same call for each change, with the newest state."""
        return Handler(call, lambda old, new: call(new), call)


class Informer(Generic[T]):
    """A copy of one resource, whole or by namespace and selectors. `run` keeps it current until cancelled."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        label_selector: str | Selector | None = None,
        field_selector: str | FieldSelector | None = None,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        streaming_list: bool = True,
        backoff: Backoff | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.resource = resource
        self.store: Store[T] = Store()
        for name, function in (indexes or {}).items():
            self.store.add_index(name, function)
        self.synced = asyncio.Event()
        """Set once the copy is whole for the first time."""
        self.last_error: Exception | None = None
        """Why the copy may be behind; None while the watch runs."""
        self.relists = 0
        self._client = client
        self._namespace = namespace
        self._selectors: dict[str, Any] = {"label_selector": label_selector, "field_selector": field_selector}
        self._streaming = streaming_list
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._handlers: list[Handler[T]] = []
        self._version: str | None = None
        self._failures = 0

    def add_handler(self, handler: Handler[T]) -> None:
        """Tell `handler` of all changes from now on, and first of all objects that are here already, as added."""
        self._handlers.append(handler)
        if handler.add is not None:
            for obj in self.store:
                self._call(handler.add, obj)

    def remove_handler(self, handler: Handler[T]) -> None:
        self._handlers.remove(handler)

    async def wait_synced(self, timeout_s: float = 30.0) -> None:
        """Until the copy is whole. Raises TimeoutError that names what stands in the way."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.synced.wait()
        except TimeoutError:
            why = f": {self.last_error}" if self.last_error else ""
            raise TimeoutError(f"{self.resource} not listed within {timeout_s:g} s{why}") from self.last_error

    async def run(self) -> None:
        """List and watch, for ever."""
        while True:
            started_s = self._clock.monotonic_s()
            failure = await self._list_and_watch_once()
            if failure is None or self._clock.monotonic_s() - started_s >= _HEALTHY_WATCH_S:
                self._failures = 0
            if failure is not None:
                self._failures += 1
                self.last_error = failure
                level = logging.INFO if self._failures == 1 else logging.WARNING
                _LOG.log(level, "%s: %s; trying again", self.resource, failure)
                # A forgotten version is no sign of an overloaded server: list at once, unless it goes on.
                if not (isinstance(failure, Gone) and self._failures == 1):
                    await self._clock.sleep(self._backoff.delay_s(self._failures))

    async def _list_and_watch_once(self) -> Exception | None:
        """One list, where needed, and one watch. Returns why it ended, None for an orderly end of the watch."""
        try:
            if self._version is None and self._streaming:
                return await self._stream()
            if self._version is None:
                await self._list()
            return await self._watch()
        except Gone as error:
            self._version = None
            return error
        except ApiError as error:
            if self._failures >= _FAILURES_BEFORE_RELIST:
                # A server restored from a backup may not know our version as a forgotten one.
                self._version = None
            return error
        except (Unreachable, CredentialsError, msgspec.DecodeError, TimeoutError) as error:
            return error
        except Exception as error:
            # Whatever it is, a copy that silently stands still is worse.
            _LOG.exception("%s: unexpected failure", self.resource)
            return error

    async def _list(self) -> None:
        found = await self._client.list(self.resource, self._namespace, **self._selectors)
        self._replace({key_of(obj): obj for obj in found.items}, found.metadata.resource_version)

    async def _stream(self) -> Exception | None:
        """A streaming list that goes on as a watch on the same connection."""
        events = self._client.watch(self.resource, self._namespace, initial_events=True, **self._selectors)
        async with aclosing(events):
            try:
                await self._receive_initial(events)
            except (BadRequest, Invalid, TimeoutError) as error:
                _LOG.info("%s: no streaming lists (%s)", self.resource, error or "no end of the initial events")
                self._streaming = False
                return None
            except StopAsyncIteration:
                return Unreachable(f"watch of {self.resource} ended within its initial events")
            async for event in events:
                self._apply(event)
        return None

    async def _receive_initial(self, events: AsyncGenerator[WatchEvent[T], None]) -> None:
        initial: dict[ObjectKey, T] = {}
        while True:
            async with asyncio.timeout(_INITIAL_SILENCE_S):
                event = await anext(events)
            if event.type == "BOOKMARK":
                if event.is_initial_end:
                    return self._replace(initial, event.resource_version)
            elif event.type == "DELETED":
                initial.pop(key_of(event.object), None)
            else:
                initial[key_of(event.object)] = event.object

    async def _watch(self) -> Exception | None:
        received = 0
        started_s = self._clock.monotonic_s()
        events = self._client.watch(
            self.resource, self._namespace, resource_version=self._version, on_open=self._watches, **self._selectors
        )
        async with aclosing(events):
            async for event in events:
                received += 1
                self._failures = 0
                self._apply(event)
        if not received and self._clock.monotonic_s() - started_s < 1:
            return Unreachable(f"watch of {self.resource} ended at once")
        return None

    def _watches(self) -> None:
        self.last_error = None

    def _replace(self, found: Mapping[ObjectKey, T], version: str) -> None:
        """Make the copy equal to a new list, telling handlers the difference."""
        self.relists += 1
        known = self.store.keys()
        for key in known:
            if key not in found:
                self._remove(key)
        for key, obj in found.items():
            self._upsert(key, obj)
        self._version = version
        self.last_error = None
        self._failures = 0
        self.synced.set()

    def _apply(self, event: WatchEvent[T]) -> None:
        if not _is_newer(event.resource_version, self._version):
            return
        if event.type == "DELETED":
            self._remove(key_of(event.object), event.object)
        elif event.type in ("ADDED", "MODIFIED"):
            self._upsert(key_of(event.object), event.object)
        self._version = event.resource_version

    def _upsert(self, key: ObjectKey, obj: T) -> None:
        old = self.store.get_key(key)
        if old is not None:
            if resource_version_of(old) == resource_version_of(obj):
                return
            if uid_of(old) != uid_of(obj):
                # Deleted and created again while we did not look.
                self._remove(key)
                old = None
        self.store.put(key, obj)
        for handler in self._handlers:
            if old is None:
                if handler.add is not None:
                    self._call(handler.add, obj)
            elif handler.update is not None:
                self._call(handler.update, old, obj)

    def _remove(self, key: ObjectKey, last: T | None = None) -> None:
        old = self.store.remove(key)
        if old is None:
            return
        for handler in self._handlers:
            if handler.delete is not None:
                self._call(handler.delete, old if last is None else last)

    def _call(self, function: Callable[..., None], *args: T) -> None:
        try:
            function(*args)
        except Exception:
            # One user's fault must not stop the copy that all share.
            _LOG.exception("%s: handler failed", self.resource)


class Informers:
    """The informers of a process: one watch per resource, namespace and selectors, however many users it has.

    Use it as an async context manager around the time in which copies must be current.
    """

    def __init__(self, client: Client, *, clock: Clock = SYSTEM, **options: Any) -> None:
        """`options` go to each `Informer` (streaming_list, backoff)."""
        self.client = client
        self._clock = clock
        self._options = options
        self._informers: dict[tuple[Any, ...], Informer[Any]] = {}
        self._tasks: dict[tuple[Any, ...], asyncio.Task[None]] = {}
        self._is_running = False

    def informer(
        self,
        resource: Resource[U],
        namespace: str | None = None,
        *,
        label_selector: str | Selector | None = None,
        field_selector: str | FieldSelector | None = None,
        indexes: Mapping[str, IndexFunction[U]] | None = None,
    ) -> Informer[U]:
        """The informer of a resource, shared with all who ask for the same."""
        identity = (resource, namespace, str(label_selector or ""), str(field_selector or ""))
        informer = self._informers.get(identity)
        if informer is None:
            informer = Informer(
                self.client, resource, namespace, label_selector=label_selector, field_selector=field_selector,
                clock=self._clock, **self._options,
            )  # fmt: skip
            self._informers[identity] = informer
            if self._is_running:
                self._start(identity)
        for name, function in (indexes or {}).items():
            informer.store.add_index(name, function)
        return cast("Informer[U]", informer)

    def __iter__(self) -> Any:
        return iter(list(self._informers.values()))

    async def wait_synced(self, timeout_s: float = 30.0) -> None:
        """Until every copy is whole. Raises TimeoutError that names one that is not."""
        await asyncio.gather(*(informer.wait_synced(timeout_s) for informer in self._informers.values()))

    async def __aenter__(self) -> Informers:
        self._is_running = True
        for identity in self._informers:
            self._start(identity)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_running = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, identity: tuple[Any, ...]) -> None:
        informer = self._informers[identity]
        run: Coroutine[Any, Any, None] = informer.run()
        self._tasks[identity] = asyncio.create_task(run, name=f"informer {informer.resource}")


def _is_newer(version: str, than: str | None) -> bool:
    """Whether an event brings something new. Versions are decimal numbers that grow; others are taken as new."""
    if than is None or not (version.isdecimal() and than.isdecimal()):
        return version != than
    return int(version) > int(than)
