"""The garbage collector: keeps the ownership graph of every deletable resource and carries its verdicts out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from fairlead.embedded.controllers.access import LOG, Cluster
from fairlead.embedded.controllers.garbage import Graph, Node, Reference, Verdict, compute_verdict, node_of
from fairlead.kube.discovery import APIResource, Discovery
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.objects.meta import KubernetesObject
from fairlead.kube.resources import Resource
from fairlead.kube.transport import Unreachable

DISCOVERY_PERIOD_S = 5.0
"""How often new and removed resources (CRDs) are looked for, besides at once when a definition changes."""

RETRY_S = 0.5
RETRY_LIMIT_S = 60.0
SYNC_TIMEOUT_S = 30.0
"""How long new resources may take to be listed before the rest is collected without them."""

CONCURRENT_WRITES = 16
_IGNORED = {("", "events"), ("events.k8s.io", "events")}


class Undecided(Exception):
    """Nothing can be said of an owner yet: it exists and our copy is behind, or its kind is not served."""


class Metadata(KubernetesObject, frozen=True, gc=False):
    """Any object, as far as ownership goes: only its metadata is decoded."""


class GarbageCollector:
    """Runs its own informers, one per resource, that decode nothing but metadata."""

    name = "garbage-collector"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._discovery = Discovery(cluster.client)
        self._graph = Graph()
        self._informers: dict[tuple[str, str, str], tuple[Informer[Metadata], asyncio.Task[None]]] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        # Uid -> verdicts in a row that could not be carried out.
        self._failures: dict[str, int] = {}
        self._whole = asyncio.Event()
        self._kinds: dict[tuple[str, str], Resource[Any]] = {}
        self.definitions_changed = asyncio.Event()

    async def run(self) -> None:
        """Collect until cancelled."""
        tasks = [asyncio.create_task(self._work()) for _ in range(CONCURRENT_WRITES)]
        tasks.append(asyncio.create_task(self._follow_resources()))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            for _, task in self._informers.values():
                task.cancel()

    async def _follow_resources(self) -> None:
        while True:
            try:
                self._discovery.invalidate()
                await self._adjust(await self._discovery.preferred())
            except (ApiError, Unreachable, TimeoutError) as error:
                LOG.info("garbage collector: discovery: %s", error)
            self.definitions_changed.clear()
            try:
                async with asyncio.timeout(DISCOVERY_PERIOD_S):
                    await self.definitions_changed.wait()
                await self._cluster.clock.sleep(0.2)
            except TimeoutError:
                continue

    async def _adjust(self, found: Iterable[APIResource]) -> None:
        wanted: dict[tuple[str, str, str], APIResource] = {}
        for r in found:
            if r.is_subresource or not {"list", "watch", "delete", "patch"} <= set(r.verbs):
                continue
            self._kinds[(r.group, r.kind)] = _resource(r)
            if (r.group, r.name) not in _IGNORED:
                wanted[(r.group, r.version, r.name)] = r
        for identity in self._informers.keys() - wanted.keys():
            informer, task = self._informers.pop(identity)
            task.cancel()
            for obj in informer.store:
                self._enqueue(self._graph.forget(obj.metadata.uid))
        added = wanted.keys() - self._informers.keys()
        if added:
            # With half of the graph, an owner may seem to have no dependents: its finalizer must wait.
            self._whole.clear()
        for identity in added:
            self._watch(identity, wanted[identity])
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                await asyncio.gather(*(self._informers[identity][0].synced.wait() for identity in added))
        except TimeoutError:
            behind = [str(i.resource) for i, _ in self._informers.values() if not i.synced.is_set()]
            LOG.warning("garbage collector: not listed yet: %s", ", ".join(behind))
        self._whole.set()

    def _watch(self, identity: tuple[str, str, str], found: APIResource) -> None:
        resource: Resource[Metadata] = Resource(
            found.group, found.version, found.name, found.kind, Metadata, found.namespaced
        )
        informer = Informer(self._cluster.client, resource, clock=self._cluster.clock)

        def put(obj: Metadata) -> None:
            self._enqueue(self._graph.put(node_of(obj.metadata, identity)))

        def remove(obj: Metadata) -> None:
            self._enqueue(self._graph.remove(obj.metadata.uid))

        informer.add_handler(Handler(put, lambda _, new: put(new), remove))
        self._informers[identity] = (informer, asyncio.create_task(informer.run()))

    def _enqueue(self, uids: Iterable[str]) -> None:
        for uid in uids:
            if uid not in self._queued:
                self._queued.add(uid)
                self._queue.put_nowait(uid)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            await self._whole.wait()
            self._queued.discard(uid)
            if uid in self._busy:
                self._later(uid)
                continue
            self._busy.add(uid)
            try:
                await self._carry_out(uid)
                self._failures.pop(uid, None)
            except (Conflict, NotFound, Undecided):
                self._later(uid)
            except (ApiError, Unreachable, TimeoutError) as error:
                LOG.info("garbage collector: %s; trying again", error)
                self._later(uid)
            finally:
                self._busy.discard(uid)

    def _later(self, uid: str) -> None:
        failures = self._failures[uid] = self._failures.get(uid, 0) + 1
        delay_s = min(RETRY_S * 2.0 ** min(failures - 1, 10), RETRY_LIMIT_S)
        asyncio.get_running_loop().call_later(delay_s, self._enqueue, (uid,))

    async def _carry_out(self, uid: str) -> None:
        verdict = compute_verdict(self._graph, uid)
        if verdict == Verdict():
            return
        node = self._graph.nodes[uid]
        for owner in verdict.check_owners:
            if not await self._is_absent(owner, node):
                raise Undecided(f"{node.resource[2]} {node.namespace}/{node.name}: owner {owner.kind} {owner.name}")
            self._enqueue(self._graph.mark_absent(owner, node.namespace))
        if verdict.unblock:
            await self._rewrite(node, verdict)
        if verdict.delete:
            await self._delete(node, verdict.delete)
        if verdict.remove_owners or verdict.remove_finalizer:
            await self._rewrite(node, verdict)

    async def _is_absent(self, owner: Reference, dependent: Node) -> bool:
        group, _, version = owner.api_version.rpartition("/")
        known = self._kinds.get((group, owner.kind))
        if known is None:
            try:
                known = await self._discovery.resource_for(owner.api_version, owner.kind)
            except NotFound:
                # The kind is not served (any more): nothing can be said of the owner, so nothing is deleted.
                return False
        if known.namespaced and not dependent.namespace:
            # A reference that cannot be followed: what carries it stays.
            return False
        resource: Resource[Metadata] = Resource(group, version, known.plural, known.kind, Metadata, known.namespaced)
        try:
            found = await self._cluster.client.get(
                resource, owner.name, dependent.namespace if known.namespaced else None
            )
        except NotFound:
            return True
        return found.metadata.uid != owner.uid

    def _resource_of(self, node: Node) -> Resource[Metadata]:
        informer, _ = self._informers[node.resource]
        return informer.resource

    async def _delete(self, node: Node, policy: str) -> None:
        client = self._cluster.client
        resource = self._resource_of(node)
        try:
            current = await client.get(resource, node.name, node.namespace or None)
            if current.metadata.uid != node.uid:
                return
            known = {o.uid for o in current.metadata.owner_references}
            if known != {o.uid for o in node.owners}:
                self._enqueue(self._graph.put(node_of(current.metadata, node.resource)))
                return
            await client.delete(
                resource, node.name, node.namespace or None, uid=node.uid,
                resource_version=current.metadata.resource_version, propagation=policy,  # type: ignore[arg-type]
            )  # fmt: skip
        except NotFound:
            self._enqueue(self._graph.remove(node.uid))

    async def _rewrite(self, node: Node, verdict: Verdict) -> None:
        client = self._cluster.client
        resource = self._resource_of(node)
        try:
            current = await client.get(resource.as_unstructured(), node.name, node.namespace or None)
        except NotFound:
            self._enqueue(self._graph.remove(node.uid))
            return
        meta = current["metadata"]
        if meta["uid"] != node.uid:
            return
        body: dict[str, Any] = {"uid": node.uid, "resourceVersion": meta["resourceVersion"]}
        if verdict.remove_owners:
            kept = [o for o in meta.get("ownerReferences") or () if o["uid"] not in verdict.remove_owners]
            body["ownerReferences"] = kept or None
        if verdict.unblock:
            references = body.get("ownerReferences") or meta.get("ownerReferences") or ()
            body["ownerReferences"] = [{**o, "blockOwnerDeletion": False} for o in references]
        if verdict.remove_finalizer:
            left = [f for f in meta.get("finalizers") or () if f != verdict.remove_finalizer]
            body["finalizers"] = left or None
        await client.patch(resource, node.name, {"metadata": body}, node.namespace or None, kind="merge")


def _resource(found: APIResource) -> Resource[Any]:
    api_version = f"{found.group}/{found.version}" if found.group else found.version
    return Resource.of(api_version, found.name, found.kind, namespaced=found.namespaced)
