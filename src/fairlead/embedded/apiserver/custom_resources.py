"""From CustomResourceDefinitions to served types: names are accepted, types registered, and a definition that is
deleted takes its objects with it.

Conditions and their wording follow `k8s.io/apiextensions-apiserver` (`pkg/controller/status`, `…/finalizer`).
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterable
from dataclasses import replace

from fairlead.clock import format_time
from fairlead.embedded.apiserver.definition_names import (
    AcceptedNames,
    UsedNames,
    established_status,
    is_true,
    terminating_status,
)
from fairlead.embedded.apiserver.kinds.crd import types_of_crd
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import DeleteOptions
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.store import Record, Subscription
from fairlead.kube.errors import ApiError, NotFound

GROUP = "apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
RETRY_S = 1.0
DELETING = ("InstanceDeletionInProgress", "CustomResource deletion is in progress")
DELETED = ("InstanceDeletionCompleted", "removed all instances")
_log = logging.getLogger(__name__)


class CustomResources:
    """Keeps a catalog's custom types true to the stored definitions, for the time of its context."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._names = AcceptedNames()
        # Definitions under deletion that are looked at again in a moment
        self._retried: set[str] = set()

    async def __aenter__(self) -> CustomResources:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._subscription is not None:
            self._subscription.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def load(self) -> None:
        """Register what is stored and go on following changes."""
        type_ = self._type()
        if type_ is None:
            return
        store = self._objects.store
        snapshot = store.snapshot(type_.storage_prefix)
        self._subscription = store.subscribe(type_.storage_prefix, snapshot.version)
        for record in snapshot.records:
            self._names.take(self._objects.read(type_, record))
        for record in snapshot.records:
            await self._reconcile(type_, record)
        self._task = asyncio.create_task(self._follow(type_, self._subscription))

    def _type(self) -> ResourceType | None:
        return self._objects.catalog.find(GROUP, "v1", "customresourcedefinitions")

    async def _follow(self, type_: ResourceType, subscription: Subscription) -> None:
        while not subscription.closed:
            for record in subscription.take():
                await self._reconcile(type_, record)
            await subscription.wait(3600)

    async def _reconcile(self, type_: ResourceType, record: Record) -> None:
        if record.deleted:
            self._objects.catalog.set_custom(record.name, ())
            self._look_again(type_, self._names.drop(record.name))
            return
        latest = self._objects.store.newest(type_.storage_prefix, record.name)
        if latest is None:
            return
        crd = self._objects.read(type_, latest)
        try:
            if crd["metadata"].get("deletionTimestamp"):
                await self._clean_up(type_, crd)
            else:
                await self._establish(type_, crd)
        except NotFound:
            return
        except ApiError:
            _log.exception("the definition %s is not served", record.name)

    async def _establish(self, type_: ResourceType, crd: Object) -> None:
        name, group = crd["metadata"]["name"], crd["spec"]["group"]
        used = self._names.used(group).union(self._built_in(group))
        status = established_status(crd, used, format_time(self._objects.clock.wall_s()))
        if is_true({"status": status}, "Established"):
            served = {**crd, "spec": {**crd["spec"], "names": status["acceptedNames"]}, "status": status}
            self._objects.catalog.set_custom(name, types_of_crd(served))
        if status != crd.get("status"):
            await self._set_status(type_, name, status)
        self._look_again(type_, self._names.take({**crd, "status": status}))

    def _built_in(self, group: str) -> UsedNames:
        """Names that kinds of the server's own have in a group."""
        types = [each for each in self._objects.catalog.all() if each.group == group and not each.is_custom]
        resources = {name for each in types for name in (each.resource, each.singular, *each.short_names)}
        return UsedNames(resources, {name for each in types for name in (each.kind, each.list_kind)})

    async def _set_status(self, type_: ResourceType, name: str, status: Object) -> None:
        def change(current: Object) -> Object:
            return {**copy.deepcopy(current), "status": status}

        write = Write(type_, "", name, manager="kube-apiserver", subresource="status")
        await self._objects.update(write, change, is_patch=True, records_ownership=False, checks=False)

    async def _clean_up(self, type_: ResourceType, crd: Object) -> None:
        """Delete all objects of a definition, then let it go."""
        name = crd["metadata"]["name"]
        served = list(self._objects.catalog.custom(name))
        if served and not served[0].is_terminating:
            served = [replace(each, is_terminating=True) for each in served]
            self._objects.catalog.set_custom(name, served)
        left = await self._delete_instances(served[0] if served else _any_version(crd))
        if left:
            await self._tell_progress(type_, crd)
            # Finalizers keep some: their removal is not a change of the definition, so look again.
            if name not in self._retried:
                self._retried.add(name)
                asyncio.get_running_loop().call_later(RETRY_S, self._retry, type_, name)
            return
        if CLEANUP not in (crd["metadata"].get("finalizers") or ()):
            return

        def change(current: Object) -> Object:
            changed = copy.deepcopy(current)
            finalizers = [f for f in changed["metadata"].get("finalizers") or () if f != CLEANUP]
            changed["metadata"]["finalizers"] = finalizers
            if not finalizers:
                del changed["metadata"]["finalizers"]
            now = format_time(self._objects.clock.wall_s())
            changed["status"] = terminating_status(changed, "False", *DELETED, now)
            return changed

        self._objects.catalog.set_custom(name, ())
        write = Write(type_, "", name, manager="kube-apiserver", subresource="status")
        await self._objects.update(write, change, is_patch=True, records_ownership=False, checks=False)

    async def _tell_progress(self, type_: ResourceType, crd: Object) -> None:
        status = terminating_status(crd, "True", *DELETING, format_time(self._objects.clock.wall_s()))
        if status != crd.get("status"):
            await self._set_status(type_, crd["metadata"]["name"], status)

    def _retry(self, type_: ResourceType, name: str) -> None:
        self._retried.discard(name)
        self._look_again(type_, [name])

    def _look_again(self, type_: ResourceType, names: Iterable[str]) -> None:
        """Reconcile definitions as if they had changed."""
        for name in names:
            record = self._objects.store.newest(type_.storage_prefix, name)
            if record is not None and self._subscription is not None and not self._subscription.closed:
                self._subscription.push(record)
                self._subscription.wake()

    async def _delete_instances(self, type_: ResourceType) -> int:
        """Delete every object of a type; returns how many stay for their finalizers."""
        left = 0
        for record in self._objects.store.snapshot(type_.storage_prefix).records:
            namespace, _, name = record.name.rpartition("/")
            try:
                _, gone = await self._objects.delete(Write(type_, namespace, name), DeleteOptions())
            except NotFound:
                continue
            left += not gone
        return left


def _any_version(crd: Object) -> ResourceType:
    """A type that reads the objects of a definition of which no version is served."""
    versions = [{**version, "served": True} for version in crd["spec"]["versions"]]
    return types_of_crd({**crd, "spec": {**crd["spec"], "versions": versions}})[0]
