"""The Kubernetes API as typed coroutines: what kubectl can do, from Python.

    async with Client.load() as client:
        pod = await client.get(PODS, "web-0", "default")
        async for event in client.watch(PODS, "default", resource_version=pod.metadata.resource_version):
            ...

Every call takes the `Resource` it is about and returns its type. Failures are `fairlead.kube.errors`, or `Unreachable`.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, cast

import aiohttp
import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.backoff import Backoff
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import BadRequest, Conflict, Gone, from_status
from fairlead.kube.objects.autoscaling import Scale
from fairlead.kube.objects.meta import ListMeta
from fairlead.kube.resources import ObjectList, Resource, Unstructured, WatchEvent, metadata_of
from fairlead.kube.selectors import FieldSelector, Selector
from fairlead.kube.transport import Answer, Params, Transport, Unreachable
from fairlead.kube.watch import split_lines

T = TypeVar("T")
PatchKind = Literal["json", "merge", "strategic"]
Propagation = Literal["Background", "Foreground", "Orphan"]
FieldValidation = Literal["Strict", "Warn", "Ignore"]

DEFAULT_FIELD_MANAGER: Final = "fairlead"
DEFAULT_PAGE: Final = 500
_CONFLICT_ATTEMPTS: Final = 10
_CONFLICT_BACKOFF: Final = Backoff(first_s=0.01, max_s=0.5)
_PATCH_CONTENT_TYPE: Final = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_APPLY_CONTENT_TYPE: Final = "application/apply-patch+yaml"
# client-go watches for five to ten minutes at a time, so that load spreads when an API server restarts.
_WATCH_MIN_S: Final = 300.0
# Servers begin the answer to a watch at once, events or not.
_WATCH_HEAD_S: Final = 30.0


class Client:
    """A client of one API server. Use it as an async context manager; one per process is enough."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        field_manager: str = DEFAULT_FIELD_MANAGER,
        clock: Clock = SYSTEM,
        **transport: Any,
    ) -> None:
        """`transport` takes the options of `Transport`: user_agent, timeout_s, retry, on_warning."""
        self.credentials = credentials
        self.transport = Transport(credentials, clock=clock, **transport)
        self._clock = clock
        self.field_manager = field_manager

    @staticmethod
    def load(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None, **options: Any) -> Client:
        """A client with the credentials that `Credentials.load` finds. Raises CredentialsError."""
        return Client(Credentials.load(kubeconfig, context), **options)

    @property
    def namespace(self) -> str:
        """The namespace of our credentials; never assumed by any call."""
        return self.credentials.namespace

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self.transport.close()

    # Reading

    async def get(
        self, resource: Resource[T], name: str, namespace: str | None = None, *, subresource: str | None = None,
        resource_version: str | None = None,
    ) -> T:  # fmt: skip
        """One object. Raises NotFound."""
        params = _params(resourceVersion=resource_version)
        path = resource.path(namespace, name, subresource)
        return resource.decode((await self.transport.request("GET", path, params=params)).body)

    async def list(
        self, resource: Resource[T], namespace: str | None = None, *, label_selector: str | Selector | None = None,
        field_selector: str | FieldSelector | None = None, page: int | None = DEFAULT_PAGE,
        resource_version: str | None = None,
    ) -> ObjectList[T]:  # fmt: skip
        """All objects (of all namespaces, where none is given), from one consistent version.

        Lists that take so long that the version is forgotten are taken again, whole.
        """
        options: dict[str, Any] = {"label_selector": label_selector, "field_selector": field_selector}
        items: list[T] = []
        metadata = ListMeta()
        try:
            async for part in self.pages(resource, namespace, page=page, resource_version=resource_version, **options):
                items += part.items
                metadata = part.metadata
        except Gone:
            async for part in self.pages(resource, namespace, page=None, **options):
                items, metadata = part.items, part.metadata
        return ObjectList(metadata, items)

    async def pages(
        self, resource: Resource[T], namespace: str | None = None, *, label_selector: str | Selector | None = None,
        field_selector: str | FieldSelector | None = None, page: int | None = DEFAULT_PAGE,
        resource_version: str | None = None,
    ) -> AsyncIterator[ObjectList[T]]:  # fmt: skip
        """The list in pages of up to `page` objects. Raises Gone when the version is forgotten on the way."""
        token = ""
        while True:
            params = _params(
                labelSelector=label_selector, fieldSelector=field_selector, limit=page, **{"continue": token or None},
                resourceVersion=None if token else resource_version,
            )  # fmt: skip
            answer = await self.transport.request("GET", resource.path(namespace), params=params)
            part = resource.decode_list(answer.body)
            yield part
            token = part.metadata.continue_
            if not token:
                return

    async def watch(
        self, resource: Resource[T], namespace: str | None = None, *, resource_version: str | None = None,
        label_selector: str | Selector | None = None, field_selector: str | FieldSelector | None = None,
        bookmarks: bool = True, initial_events: bool = False, timeout_s: float | None = None,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent[T], None]:  # fmt: skip
        """Events after `resource_version`, until the server ends the watch (it does, after `timeout_s` at the latest).
        `on_open` is called once the server has taken it up: there may be no event for long.

        With `initial_events` the watch begins with an ADDED event per existing object and a bookmark that ends them.
        Raises Gone when the version is forgotten; Unreachable when the stream breaks off.
        """
        timeout_s = timeout_s or random.uniform(_WATCH_MIN_S, 2 * _WATCH_MIN_S)
        params = _params(
            watch=True, resourceVersion=resource_version, labelSelector=label_selector, fieldSelector=field_selector,
            allowWatchBookmarks=bookmarks or initial_events or None, timeoutSeconds=max(1, int(timeout_s)),
            sendInitialEvents=initial_events or None,
            resourceVersionMatch="NotOlderThan" if initial_events else None,
        )  # fmt: skip
        path = resource.path(namespace)
        async with self.transport.stream(
            "GET", path, params=params, timeout_s=timeout_s + 15, head_timeout_s=_WATCH_HEAD_S
        ) as content:
            if on_open is not None:
                on_open()
            try:
                async for line in split_lines(content.iter_any()):
                    event = resource.decode_event(line)
                    if not isinstance(event, WatchEvent):
                        raise from_status(event)
                    yield event
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unreachable(f"watch {path}: {error or type(error).__name__}") from error
            except msgspec.DecodeError as error:
                if isinstance(error, msgspec.ValidationError):
                    raise
                raise Unreachable(f"watch {path}: garbled event: {error}") from error

    # Writing

    async def create(
        self, resource: Resource[T], obj: T, namespace: str | None = None, *, dry_run: bool = False,
        field_manager: str | None = None, field_validation: FieldValidation | None = None,
    ) -> T:  # fmt: skip
        """Store a new object. Raises AlreadyExists, Invalid."""
        namespace = namespace or metadata_of(obj).namespace
        if resource.namespaced and not namespace:
            raise ValueError(f"{resource} is namespaced: give the namespace to create in")
        params = self._write_params(dry_run, field_manager, field_validation)
        answer = await self.transport.request(
            "POST", resource.path(namespace), params=params, body=resource.encode(obj)
        )
        return resource.decode(answer.body)

    async def replace(
        self, resource: Resource[T], obj: T, *, subresource: str | None = None, dry_run: bool = False,
        field_manager: str | None = None, field_validation: FieldValidation | None = None,
    ) -> T:  # fmt: skip
        """Store a new state of an object. Raises Conflict when it changed since the version that `obj` carries.

        A struct holds only the fields it declares, and replacing drops all others: prefer `modify` or `patch` for
        objects that others write too.
        """
        metadata = metadata_of(obj)
        path = resource.path(metadata.namespace, metadata.name, subresource)
        params = self._write_params(dry_run, field_manager, field_validation)
        answer = await self.transport.request("PUT", path, params=params, body=resource.encode(obj))
        return resource.decode(answer.body)

    async def modify(
        self, resource: Resource[T], name: str, namespace: str | None, change: Callable[[Unstructured], None], *,
        subresource: str | None = None, dry_run: bool = False, field_manager: str | None = None,
    ) -> T:  # fmt: skip
        """Read the whole object, let `change` alter it in place, write it back; again from the start on a conflict.

        Nothing is written when `change` leaves the object as it was. Raises Conflict after ten rounds.
        """
        whole = resource.as_unstructured()
        for attempt in range(_CONFLICT_ATTEMPTS):
            current = await self.get(whole, name, namespace, subresource=subresource)
            wanted = copy.deepcopy(current)
            change(wanted)
            if wanted != current:
                try:
                    current = await self.replace(
                        whole, wanted, subresource=subresource, dry_run=dry_run, field_manager=field_manager
                    )
                except Conflict:
                    if attempt + 1 == _CONFLICT_ATTEMPTS:
                        raise
                    await self._clock.sleep(_CONFLICT_BACKOFF.delay_s(attempt + 1))
                    continue
            return resource.decode(msgspec.json.encode(current))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def patch(
        self, resource: Resource[T], name: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        namespace: str | None = None, *, kind: PatchKind = "merge", subresource: str | None = None,
        dry_run: bool = False, field_manager: str | None = None, field_validation: FieldValidation | None = None,
    ) -> T:  # fmt: skip
        """Change part of an object: a JSON patch (a list of operations), a merge patch or a strategic merge patch."""
        path = resource.path(namespace, name, subresource)
        params = self._write_params(dry_run, field_manager, field_validation)
        answer = await self.transport.request(
            "PATCH", path, params=params, body=msgspec.json.encode(body), content_type=_PATCH_CONTENT_TYPE[kind]
        )
        return resource.decode(answer.body)

    async def apply(
        self, resource: Resource[T], obj: T | Mapping[str, Any], *, force: bool = False,
        subresource: str | None = None, dry_run: bool = False, field_manager: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T:  # fmt: skip
        """Server-side apply: own exactly the fields in `obj`, creating the object where there is none.

        Raises Conflict, its causes naming each field and its other owner, unless `force` takes the fields over.
        """
        metadata = metadata_of(obj)
        if resource.namespaced and not metadata.namespace:
            raise ValueError(f"{resource} is namespaced: set metadata.namespace of {metadata.name!r}")
        params = self._write_params(dry_run, field_manager, field_validation)
        params["force"] = "true" if force else "false"
        body = msgspec.json.encode(resource.identified(cast("T", obj)))
        path = resource.path(metadata.namespace, metadata.name, subresource)
        answer = await self.transport.request("PATCH", path, params=params, body=body, content_type=_APPLY_CONTENT_TYPE)
        return resource.decode(answer.body)

    async def delete(
        self, resource: Resource[Any], name: str, namespace: str | None = None, *,
        propagation: Propagation | None = None, grace_period_s: int | None = None, uid: str | None = None,
        resource_version: str | None = None, dry_run: bool = False,
    ) -> Unstructured:  # fmt: skip
        """Delete an object. Returns the object while it is still going away, and a Status once it is gone.

        `uid` and `resource_version` are preconditions: a different object raises Conflict. Raises NotFound.
        """
        body = _delete_options(propagation, grace_period_s, uid, resource_version, dry_run)
        answer = await self.transport.request("DELETE", resource.path(namespace, name), body=body)
        return cast("Unstructured", answer.json())

    async def delete_collection(
        self, resource: Resource[Any], namespace: str | None = None, *,
        label_selector: str | Selector | None = None, field_selector: str | FieldSelector | None = None,
        propagation: Propagation | None = None, grace_period_s: int | None = None, dry_run: bool = False,
    ) -> Unstructured:  # fmt: skip
        """Delete all selected objects of a namespace. Returns the list of what was there."""
        if resource.namespaced and not namespace:
            raise BadRequest(f"delete_collection of {resource} needs a namespace")
        params = _params(labelSelector=label_selector, fieldSelector=field_selector)
        body = _delete_options(propagation, grace_period_s, None, None, dry_run)
        answer = await self.transport.request("DELETE", resource.path(namespace), params=params, body=body)
        return cast("Unstructured", answer.json())

    # Subresources and everything else

    async def scale(
        self, resource: Resource[Any], name: str, namespace: str | None = None, replicas: int | None = None
    ) -> Scale:
        """The scale of anything that has one; with `replicas`, set it first."""
        path = resource.path(namespace, name, "scale")
        if replicas is None:
            answer = await self.transport.request("GET", path)
        else:
            answer = await self.transport.request(
                "PATCH",
                path,
                params={"fieldManager": self.field_manager},
                body=msgspec.json.encode({"spec": {"replicas": replicas}}),
                content_type=_PATCH_CONTENT_TYPE["merge"],
            )
        return msgspec.json.decode(answer.body, type=Scale)

    async def request(
        self, method: str, path: str, *, params: Params = (), body: Any = None,
        content_type: str = "application/json", accept: str | None = None, timeout_s: float | None = None,
    ) -> Answer:  # fmt: skip
        """Any request, for what has no method here. `body` is bytes as they are, or a value to send as JSON."""
        payload = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.transport.request(
            method, path, params=params, body=payload, content_type=content_type, accept=accept, timeout_s=timeout_s
        )

    def _write_params(
        self, dry_run: bool, field_manager: str | None, field_validation: FieldValidation | None
    ) -> dict[str, str]:
        return _params(
            fieldManager=field_manager or self.field_manager,
            dryRun="All" if dry_run else None,
            fieldValidation=field_validation,
        )


def _params(**values: Any) -> dict[str, str]:
    """Query parameters in the API's spelling; None is left out."""
    return {
        name: ("true" if value is True else "false" if value is False else str(value))
        for name, value in values.items()
        if value is not None
    }


def _delete_options(
    propagation: Propagation | None,
    grace_period_s: int | None,
    uid: str | None,
    resource_version: str | None,
    dry_run: bool,
) -> bytes:
    preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v is not None}
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if propagation is not None:
        options["propagationPolicy"] = propagation
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    if preconditions:
        options["preconditions"] = preconditions
    if dry_run:
        options["dryRun"] = ["All"]
    return msgspec.json.encode(options)
