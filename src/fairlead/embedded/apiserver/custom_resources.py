"""From CustomResourceDefinitions to served types: names are accepted, types registered, and a definition that is
deleted takes its objects with it.

Conditions and their wording follow `k8s.io/apiextensions-apiserver` (`pkg/controller/status`, `…/finalizer`).
"""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import Any

from fairlead.clock import format_time
from fairlead.embedded.apiserver.kinds.crd import types_of_crd
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import DeleteOptions
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.store import Record, Subscription
from fairlead.kube.errors import ApiError, NotFound

GROUP = "apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
RETRY_S = 1.0
_log = logging.getLogger(__name__)


class CustomResources:
    """Keeps a catalog's custom types true to the stored definitions, for the time of its context."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

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
        name = crd["metadata"]["name"]
        conflicts = self._name_conflicts(crd)
        status = established_status(crd, conflicts, format_time(self._objects.clock.wall_s()))
        if not conflicts or is_true(crd, "Established"):
            self._objects.catalog.set_custom(name, types_of_crd({**crd, "status": status}))
        if status != crd.get("status"):
            await self._set_status(type_, name, status)

    def _name_conflicts(self, crd: Object) -> list[str]:
        """Names that another definition or built-in type of the group has already."""
        spec, own = crd["spec"], crd["metadata"]["name"]
        names = spec["names"]
        taken_resources: set[str] = set()
        taken_kinds: set[str] = set()
        mine = {id(each) for each in self._objects.catalog.custom(own)}
        for each in self._objects.catalog.all():
            if each.group == spec["group"] and id(each) not in mine:
                taken_resources |= {each.resource, each.singular, *each.short_names}
                taken_kinds |= {each.kind, each.list_kind}
        singular = names.get("singular") or names["kind"].lower()
        problems = [
            f'"{name}" is already in use'
            for name in (names["plural"], singular, *(names.get("shortNames") or ()))
            if name in taken_resources
        ]
        kinds = (names["kind"], names.get("listKind") or names["kind"] + "List")
        return problems + [f'"{name}" is already in use' for name in kinds if name in taken_kinds]

    async def _set_status(self, type_: ResourceType, name: str, status: Object) -> None:
        def change(current: Object) -> Object:
            return {**copy.deepcopy(current), "status": status}

        write = Write(type_, "", name, manager="kube-apiserver", subresource="status")
        await self._objects.update(write, change, is_patch=True, records_ownership=False, checks=False)

    async def _clean_up(self, type_: ResourceType, crd: Object) -> None:
        """Delete all objects of a definition, then let it go."""
        name = crd["metadata"]["name"]
        served = self._objects.catalog.custom(name)
        left = await self._delete_instances(served[0]) if served else 0
        if left:
            # Finalizers keep some: their removal is not a change of the definition, so look again.
            asyncio.get_running_loop().call_later(RETRY_S, self._look_again, type_, name)
            return
        if CLEANUP not in (crd["metadata"].get("finalizers") or ()):
            return

        def change(current: Object) -> Object:
            changed = copy.deepcopy(current)
            finalizers = [f for f in changed["metadata"].get("finalizers") or () if f != CLEANUP]
            changed["metadata"]["finalizers"] = finalizers
            if not finalizers:
                del changed["metadata"]["finalizers"]
            return changed

        self._objects.catalog.set_custom(name, ())
        write = Write(type_, "", name, manager="kube-apiserver", subresource="status")
        await self._objects.update(write, change, is_patch=True, records_ownership=False, checks=False)

    def _look_again(self, type_: ResourceType, name: str) -> None:
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


def is_true(crd: Object, condition: str) -> bool:
    conditions: list[dict[str, Any]] = (crd.get("status") or {}).get("conditions") or []
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def established_status(crd: Object, conflicts: list[str], now: str) -> Object:
    """The status of a definition whose names are accepted, or are not because of `conflicts`."""
    status: Object = copy.deepcopy(crd.get("status") or {})
    conditions: list[Object] = status.get("conditions") or []
    status["conditions"] = conditions
    if conflicts:
        message = ", ".join(conflicts)
        _set_condition(conditions, "NamesAccepted", "False", "PluralConflict", message, now)
        if not is_true(crd, "Established"):
            _set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
    else:
        _set_condition(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        established = "the initial names have been accepted"
        _set_condition(conditions, "Established", "True", "InitialNamesAccepted", established, now)
        names = dict(crd["spec"]["names"])
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
        status["acceptedNames"] = names
    stored = status["storedVersions"] = list(status.get("storedVersions") or ())
    for version in crd["spec"]["versions"]:
        if version.get("storage") and version["name"] not in stored:
            stored.append(version["name"])
    return status


def _set_condition(conditions: list[Object], kind: str, value: str, reason: str, message: str, now: str) -> None:
    found = next((each for each in conditions if each["type"] == kind), None)
    if found is None:
        conditions.append(
            {"type": kind, "status": value, "lastTransitionTime": now, "reason": reason, "message": message}
        )
        return
    if found["status"] != value:
        found.update(status=value, lastTransitionTime=now)
    found.update(reason=reason, message=message)
