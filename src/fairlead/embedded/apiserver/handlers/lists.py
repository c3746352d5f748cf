"""GET of an object and of a collection.

A list is a consistent snapshot: its records are fixed when the request is decided, and their bytes are then read and
sent in portions, so that neither memory nor other requests suffer from its size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aiohttp import web

from fairlead.embedded.apiserver.call import Call, respond, respond_object
from fairlead.embedded.apiserver.codec import decode_value, encode
from fairlead.embedded.apiserver.handlers.presentation import as_table, go_type, partial, respond_value
from fairlead.embedded.apiserver.list_options import EXACT, INCONSISTENT, ListOptions, continue_token, list_options
from fairlead.embedded.apiserver.negotiation import JSON
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.options import parse_flag
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.selection import Selection, selection_of
from fairlead.embedded.apiserver.status import bad_request, expired, plain_internal, too_large_version
from fairlead.embedded.apiserver.store import Compacted, FutureVersion, Record, Snapshot
from fairlead.kube.errors import ApiError, NotAcceptable

PORTION = 256
"""Records that are read and written at once."""


@dataclass(slots=True)
class Page:
    """The records of one answer."""

    version: int
    records: Sequence[Record]
    next_token: str = ""
    remaining: int | None = None

    def names(self, type_: ResourceType) -> Iterator[tuple[str, str]]:
        """Name and namespace of each record."""
        for record in self.records:
            namespace, _, name = record.name.rpartition("/")
            yield name, namespace

    def metadata(self, *, is_custom: bool = False) -> Object:
        """The list's own metadata. Plain lists of custom resources always carry a token, if an empty one."""
        metadata: Object = {"resourceVersion": str(self.version)}
        if self.next_token or is_custom:
            metadata["continue"] = self.next_token
        if self.remaining:
            metadata["remainingItemCount"] = self.remaining
        return metadata


async def get(objects: Objects, call: Call) -> web.Response:
    """One object, or one as it is stored below a subresource like `status`. Raises ApiError."""
    call.negotiate()
    query = call.query
    if parse_flag(query, "export"):
        raise bad_request("the export parameter, deprecated since v1.14, is no longer supported")
    version = query.get("resourceVersion", "")
    if version:
        if not version.isdigit():
            raise plain_internal(
                f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
            )
        if int(version) > objects.store.version:
            raise too_large_version(int(version), objects.store.version)
    record = objects.get(call.type, call.namespace, call.name)
    return respond_value(call, objects.store.value(record), objects.clock)


async def list_collection(objects: Objects, call: Call) -> web.StreamResponse:
    """A collection. Raises ApiError."""
    call.negotiate()
    if parse_flag(call.query, "export"):
        raise bad_request("the export parameter, deprecated since v1.14, is no longer supported")
    options = list_options(call.query, watching=False)
    page = await select(objects, selection_of(call), options)
    return await respond_list(objects, call, page)


async def select(objects: Objects, selection: Selection, options: ListOptions) -> Page:
    """The page that a list asks for. Raises ApiError."""
    store = objects.store
    limit = 0 if options.version == 0 and not options.is_continued else options.limit
    snapshot = _snapshot(objects, selection, options, limit)
    records = [record for record in snapshot.records if selection.has_name(record.name)]
    page = Page(snapshot.version, records)
    if not selection.labels.is_everything or selection.fields.requirements:
        unpin = store.pin(snapshot.version)
        try:
            await _filter(objects, selection, page, limit)
        finally:
            unpin()
    elif limit and len(records) > limit:
        page.records = records[:limit]
        page.next_token = _token_behind(selection, page, records[limit - 1])
        page.remaining = len(records) - limit
    return page


def _snapshot(objects: Objects, selection: Selection, options: ListOptions, limit: int) -> Snapshot:
    store, type_ = objects.store, selection.type
    asked = options.version or 0
    if not options.is_continued:
        if asked > store.version:
            raise too_large_version(asked, store.version)
        # A version without a match means "not older" for whole lists, and "exactly" for lists in pages.
        if options.match != EXACT and not (limit and not options.match):
            asked = 0
    if asked == INCONSISTENT:
        asked = 0
    if selection.name is not None and not asked and (selection.prefix or not type_.namespaced):
        record = store.get(type_.storage_prefix, selection.prefix + selection.name)
        return Snapshot(store.version, [record] if record and selection.name else [])
    try:
        after = selection.prefix + options.after if options.after else ""
        return store.snapshot(type_.storage_prefix, selection.prefix, version=asked, after=after)
    except FutureVersion as error:
        raise too_large_version(error.asked, error.current) from error
    except Compacted as error:
        raise _gone(error, options) from error


def _gone(error: Compacted, options: ListOptions) -> ApiError:
    if not options.is_continued:
        return expired("The resourceVersion for the provided list is too old.")
    gone = expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    gone.status["metadata"] = {"continue": continue_token(INCONSISTENT, options.after)}
    return gone


def _token_behind(selection: Selection, page: Page, record: Record) -> str:
    return continue_token(page.version, record.name[len(selection.prefix) :])


async def _filter(objects: Objects, selection: Selection, page: Page, limit: int) -> None:
    """Keep the selected records of a page, up to the limit."""
    candidates, chosen = page.records, []
    for start in range(0, len(candidates), PORTION):
        portion = candidates[start : start + PORTION]
        for offset, value in enumerate(objects.store.values(portion)):
            record = portion[offset]
            if not selection.matches(record.name, value):
                continue
            chosen.append(record)
            if limit and len(chosen) == limit and start + offset + 1 < len(candidates):
                page.records, page.next_token = chosen, _token_behind(selection, page, record)
                return
        await asyncio.sleep(0)
    page.records = chosen


async def respond_list(objects: Objects, call: Call, page: Page) -> web.StreamResponse:
    """Answer with a page in the form that was asked for."""
    unpin = objects.store.pin(page.version)
    try:
        if call.form.transform:
            return _respond_transformed(objects, call, page)
        metadata = page.metadata(is_custom=call.type.is_custom)
        opening = b'{"kind":%s,"apiVersion":%s,"metadata":%s,"items":[' % (
            encode(call.type.list_kind), encode(call.type.api_version), encode(metadata)
        )  # fmt: skip
        to_item = _item_form(call)
        if len(page.records) <= PORTION or call.form.media_type != JSON:
            items = b",".join(to_item(objects.store.values(page.records)))
            return respond(opening + items + b"]}\n", media_type=call.form.media_type, warnings=call.warnings)
        return await _stream(objects, call, page, opening, to_item)
    finally:
        unpin()


def _item_form(call: Call) -> Callable[[list[bytes]], list[bytes]]:
    """From stored values to list items: those of custom resources carry kind and apiVersion, those of others do not."""
    type_ = call.type
    if type_.from_storage is not None:

        def converted(values: list[bytes]) -> list[bytes]:
            items = [decode_value(type_, value) for value in values]
            if not type_.is_custom:
                for item in items:
                    del item["kind"], item["apiVersion"]
            return [encode(item) for item in items]

        return converted
    if type_.is_custom:
        head = call.head
        return lambda values: [head + value[1:] for value in values]
    return lambda values: values


async def _stream(
    objects: Objects, call: Call, page: Page, opening: bytes, to_item: Callable[[list[bytes]], list[bytes]]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
    await response.prepare(call.request)
    before = opening
    for start in range(0, len(page.records), PORTION):
        values = objects.store.values(page.records[start : start + PORTION])
        await response.write(before + b",".join(to_item(values)))
        before = b","
    await response.write(b"]}\n")
    await response.write_eof()
    return response


def _respond_transformed(objects: Objects, call: Call, page: Page) -> web.Response:
    decoded = [decode_value(call.type, value) for value in objects.store.values(page.records)]
    transform, version = call.form.transform, call.form.version
    if transform == "Table":
        return respond_object(as_table(call, call.type, decoded, page.metadata(), objects.clock), call=call)
    if transform == "PartialObjectMetadata":
        name = go_type(call.type, "List")
        raise NotAcceptable(f"you requested PartialObjectMetadata, but the requested object is a list ({name})")
    return respond_object(
        {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": page.metadata(),
            "items": [partial(obj, version) for obj in decoded] or None,
        },
        call=call,
    )
