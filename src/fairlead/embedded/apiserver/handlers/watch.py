"""GET with `watch`: a stream of events.

Events of one batch of writes go out in one write to the socket, and while events keep coming a watcher sends at most
once in an interval that grows with the number of watchers: many watchers of a busy resource cost one write each per
interval, not one per event.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from aiohttp import web

from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.codec import decode_value, encode
from fairlead.embedded.apiserver.handlers.lists import PORTION
from fairlead.embedded.apiserver.handlers.presentation import as_table, partial
from fairlead.embedded.apiserver.list_options import ListOptions, list_options
from fairlead.embedded.apiserver.negotiation import JSON, STREAM_TYPES, not_acceptable
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.selection import Selection, selection_of
from fairlead.embedded.apiserver.status import expired, too_large_version
from fairlead.embedded.apiserver.store import Compacted, Record, Subscription
from fairlead.kube.errors import ApiError

COALESCE_PER_WATCHER_S = 0.0002
MIN_COALESCE_S, MAX_COALESCE_S = 0.002, 0.02
EVENTS_AT_ONCE = 128
"""Events sent in one write: what a slow watcher has waiting does not come into memory all at once."""
BOOKMARK_INTERVAL_S = 60.0
LAST_BOOKMARK_S = 2.0
FRESHNESS_S = 3.0
"""How long a watch that asks for a state not older than a version waits for that version."""
FRESHNESS_POLL_S = 0.05
MIN_TIMEOUT_S = 1800.0
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


async def watch(objects: Objects, call: Call) -> web.StreamResponse:
    """Stream events until the client leaves, the time is over, or history is lost. Raises ApiError."""
    call.negotiate()
    if call.form.media_type != JSON:
        raise not_acceptable(STREAM_TYPES)
    options = list_options(call.query, watching=True)
    selection = selection_of(call)
    stream = EventStream(objects, call, selection, options)
    response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    try:
        async for portion in stream.portions():
            await response.write(portion)
        await response.write_eof()
    except (ConnectionError, RuntimeError):
        # The client left: there is nobody to tell.
        pass
    finally:
        stream.close()
    return response


class EventStream:
    """The events of one watch, as bytes ready to send."""

    def __init__(self, objects: Objects, call: Call, selection: Selection, options: ListOptions) -> None:
        self._objects = objects
        self._call = call
        self._selection = selection
        self._options = options
        self._clock = objects.clock
        self._subscription: Subscription | None = None
        self._sent_table_header = False
        self._is_plain = not call.form.transform and call.type.from_storage is None
        # (type of event) -> what precedes a stored value
        self._openings = {
            kind: b'{"type":"%s","object":' % kind.encode() + call.head for kind in ("ADDED", "MODIFIED", "DELETED")
        }

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()

    async def portions(self) -> AsyncIterator[bytes]:
        """Bytes to send, each one or more whole events."""
        options, store = self._options, self._objects.store
        wants_state = (
            options.version in (None, 0) if options.send_initial_events is None else options.send_initial_events
        )
        if options.send_initial_events and not await self._is_reached(options.version or 0):
            yield self._error(too_large_version(options.version or 0, store.version))
            return
        start = options.version or 0
        if wants_state or options.version in (None, 0):
            start = store.version
        try:
            self._subscription = store.subscribe(self._call.type.storage_prefix, min(start, store.version))
        except Compacted as error:
            yield self._error(expired(str(error)))
            return
        if wants_state:
            async for portion in self._state(start):
                yield portion
            if options.send_initial_events and options.bookmarks:
                yield self._bookmark(start, INITIAL_EVENTS_END)
        async for portion in self._changes(start):
            yield portion

    async def _is_reached(self, version: int) -> bool:
        """Whether the store comes to a version in time."""
        end_s = self._clock.monotonic_s() + FRESHNESS_S
        while version > self._objects.store.version:
            if self._clock.monotonic_s() >= end_s:
                return False
            await self._clock.sleep(FRESHNESS_POLL_S)
        return True

    async def _state(self, version: int) -> AsyncIterator[bytes]:
        store = self._objects.store
        snapshot = store.snapshot(self._call.type.storage_prefix, self._selection.prefix)
        records = [record for record in snapshot.records if self._selection.has_name(record.name)]
        unpin = store.pin(version)
        try:
            for begin in range(0, len(records), PORTION):
                some = records[begin : begin + PORTION]
                events = [
                    self._event("ADDED", value)
                    for record, value in zip(some, store.values(some), strict=True)
                    if self._selection.matches(record.name, value)
                ]
                if events:
                    yield b"".join(events)
        finally:
            unpin()

    async def _changes(self, after: int) -> AsyncIterator[bytes]:
        subscription = self._subscription
        assert subscription is not None
        timeout_s = self._options.timeout_s or random.uniform(MIN_TIMEOUT_S, 2 * MIN_TIMEOUT_S)
        end_s = self._clock.monotonic_s() + timeout_s
        bookmark_s = self._next_bookmark_s(end_s)
        while not subscription.closed:
            taken = subscription.take()
            if subscription.overflowed:
                yield self._error(expired(str(Compacted(after, subscription.position()))))
                return
            if taken:
                new = [record for record in taken if record.version > after]
                has_sent = False
                for begin in range(0, len(new), EVENTS_AT_ONCE):
                    try:
                        events = self._events(new[begin : begin + EVENTS_AT_ONCE])
                    except Compacted as error:
                        yield self._error(expired(str(error)))
                        return
                    if events:
                        yield events
                        has_sent = True
                if has_sent:
                    await self._clock.sleep(self._coalesce_s())
                    continue
            now_s = self._clock.monotonic_s()
            if now_s >= end_s:
                return
            if self._options.bookmarks and now_s >= bookmark_s:
                yield self._bookmark(max(after, subscription.position()))
                bookmark_s = self._next_bookmark_s(end_s)
            await subscription.wait(min(end_s, bookmark_s if self._options.bookmarks else end_s) - now_s)

    def _next_bookmark_s(self, end_s: float) -> float:
        """The last bookmark comes shortly before the end, so that the client resumes close to the present."""
        now_s = self._clock.monotonic_s()
        regular_s = now_s + BOOKMARK_INTERVAL_S * random.uniform(0.75, 1.0)
        last_s = end_s - LAST_BOOKMARK_S
        return last_s if now_s < last_s < regular_s else regular_s

    def _coalesce_s(self) -> float:
        wanted_s = COALESCE_PER_WATCHER_S * self._objects.store.watchers(self._call.type.storage_prefix)
        return min(max(wanted_s, MIN_COALESCE_S), MAX_COALESCE_S)

    def _events(self, records: list[Record]) -> bytes:
        selection = self._selection
        if self._is_plain and selection.is_everything:
            prefix, openings, value = selection.prefix, self._openings, self._objects.store.value
            pieces: list[bytes] = []
            for record in records:
                if record.name.startswith(prefix):
                    kind = "DELETED" if record.deleted else "ADDED" if record.created else "MODIFIED"
                    pieces += (openings[kind], value(record)[1:], b"}\n")
            return b"".join(pieces)
        return b"".join(event for record in records if selection.has_name(record.name) for event in self._seen(record))

    def _seen(self, record: Record) -> list[bytes]:
        """The event of a change as a watcher with a selector sees it: what leaves the selection is deleted."""
        store = self._objects.store
        value = store.value(record)
        if self._selection.is_everything:
            kind = "DELETED" if record.deleted else "ADDED" if record.created else "MODIFIED"
            return [self._event(kind, value)]
        is_selected = not record.deleted and self._selection.matches(record.name, value)
        before = None if record.created or record.previous is None else store.value(record.previous)
        was_selected = before is not None and self._selection.matches(record.name, before)
        if record.deleted and before is None:
            was_selected = self._selection.matches(record.name, value)
        if is_selected:
            return [self._event("MODIFIED" if was_selected else "ADDED", value)]
        if not was_selected:
            return []
        if record.deleted or before is None:
            return [self._event("DELETED", value)]
        # The last state that was selected, with the version that ended it.
        last = decode_value(self._call.type, before)
        last["metadata"]["resourceVersion"] = str(record.version)
        return [self._decoded_event("DELETED", last)]

    def _event(self, kind: str, value: bytes) -> bytes:
        if self._is_plain:
            return self._openings[kind] + value[1:] + b"}\n"
        return self._decoded_event(kind, decode_value(self._call.type, value))

    def _decoded_event(self, kind: str, obj: Object) -> bytes:
        return encode({"type": kind, "object": self._presented(obj)}) + b"\n"

    def _presented(self, obj: Object) -> Object:
        form = self._call.form
        if form.transform == "Table":
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            table = as_table(self._call, self._call.type, [obj], metadata, self._clock)
            if self._sent_table_header:
                table["columnDefinitions"] = None
            self._sent_table_header = True
            return table
        return partial(obj, form.version) if form.transform == "PartialObjectMetadata" else obj

    def _bookmark(self, version: int, annotations: dict[str, str] | None = None) -> bytes:
        type_ = self._call.type
        metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj: Object = {"kind": type_.kind, "apiVersion": type_.api_version, "metadata": metadata}
        return self._decoded_event("BOOKMARK", obj)

    def _error(self, error: ApiError) -> bytes:
        return encode({"type": "ERROR", "object": error.status}) + b"\n"
