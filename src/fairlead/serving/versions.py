"""The stored revisions of services: kept as the planner of revisions says, and read back when they are needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from fairlead.api.model_service import ModelService
from fairlead.engines import ENGINES
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import CONTROLLER_REVISIONS
from fairlead.kube.store import by_controller_uid, by_label
from fairlead.serving.names import SERVICE_LABEL
from fairlead.serving.resolved import Resolved
from fairlead.serving.rollout.intents import is_told_otherwise
from fairlead.serving.rollout.revisions import Revision, plan_revisions, read_revisions, restore, revision_object

_LOG = logging.getLogger("fairlead.serving")
_RAW = CONTROLLER_REVISIONS.as_unstructured()


class Versions:
    """ControllerRevisions with the label of a service."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.informer = informers.informer(
            CONTROLLER_REVISIONS,
            label_selector=SERVICE_LABEL,
            indexes={"controller": by_controller_uid, "service": by_label(SERVICE_LABEL)},
        )
        self._client = client
        self._adopted: dict[str, set[str]] = {}  # uid of a service -> uids of revisions that were asked to be ours
        self._made: dict[str, set[str]] = {}  # uid of a service -> hashes that we have stored and no watch has shown

    def stored(self, service_uid: str) -> list[Revision]:
        """The newest first."""
        return read_revisions(self.informer.store.by_index("controller", service_uid))

    async def adopt(self, namespace: str, name: str, owner: Mapping[str, Any]) -> None:
        """Make revisions ours that carry the service's label and that nobody controls: those of a service of the same
        name that was deleted without its pods. Without them nobody could make pods of the version that serves."""
        asked = self._adopted.setdefault(owner["uid"], set())
        for stored in list(self.informer.store.by_index("service", name)):
            meta = stored.metadata
            if meta.namespace != namespace or meta.controller is not None or meta.is_deleting or meta.uid in asked:
                continue
            asked.add(meta.uid)
            body = {"metadata": {"uid": meta.uid, "ownerReferences": [dict(owner)]}}
            try:
                await self._client.patch(_RAW, meta.name, body, namespace)
            except (NotFound, Conflict, Invalid) as error:
                _LOG.info("revision %s stays without an owner: %s", meta.name, error)

    def known(self, service_uid: str, resolved: dict[str, Resolved]) -> Mapping[str, Resolved]:
        """How the pods of each stored revision are made; `resolved` has those that are known already, and gets the
        others."""
        for revision in self.stored(service_uid):
            if revision.hash in resolved:
                continue
            engine = ENGINES.get(str((revision.runtime.get("spec") or {}).get("engine", "")))
            if engine is None:
                continue
            try:
                resolved[revision.hash] = restore(revision, engine)
            except msgspec.ValidationError as error:
                _LOG.warning("revision %s cannot be read, and no pods can be made of it: %s", revision.name, error)
        return resolved

    async def keep(
        self, raw: Mapping[str, Any], owner: Mapping[str, Any], wanted: Resolved, in_use: Collection[str],
        service: ModelService,
    ) -> None:  # fmt: skip
        """Store what is wanted, and forget what is of no use any more. Raises ApiError."""
        stored = self.stored(service.uid)
        limit = service.spec.rollout.revision_history_limit
        mine = next((r for r in stored if r.hash == wanted.revision), None)
        otherwise = mine is not None and is_told_otherwise(mine, raw, service.spec, wanted)
        step = plan_revisions(raw, owner, wanted, stored, in_use, limit, is_told_otherwise=otherwise)
        made = self._made.setdefault(service.uid, set())
        made -= {r.hash for r in stored}
        if step.create is not None and wanted.revision not in made:
            try:
                await self._client.create(_RAW, step.create)
            except AlreadyExists:
                _LOG.debug("revision %s is stored already", step.create["metadata"]["name"])
            made.add(wanted.revision)
        if step.renumber is not None:
            # The API refuses every change of a ControllerRevision by JSON, whatever stays the same: made anew.
            name, number = step.renumber
            await self._delete(name, service.namespace)
            await self._client.create(_RAW, revision_object(raw, owner, wanted, number))
        await asyncio.gather(*(self._delete(name, service.namespace) for name in step.delete))

    async def _delete(self, name: str, namespace: str) -> None:
        try:
            await self._client.delete(_RAW, name, namespace)
        except NotFound:
            return
