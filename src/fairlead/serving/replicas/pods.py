"""The pods of services as the API has them: found, adopted, made, annotated, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.clock import Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, Conflict, NotFound
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.store import by_controller_uid, by_label
from fairlead.serving.names import REPLICA_LABEL, REVISION_LABEL, SERVICE_LABEL
from fairlead.serving.replicas.overlay import FORGET_S, Overlay

_by_service = by_label(SERVICE_LABEL)


class NameTaken(AlreadyExists):
    """A pod of somebody else has the name that a replica was to have."""


class Replicas:
    """Reads from the shared copy of pods, overlaid with our own latest writes."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self.pods = informers.informer(PODS, indexes={"controller": by_controller_uid, "service": _by_service})
        self._client = client
        self._clock = clock
        self._overlay = Overlay()
        self._taken: dict[tuple[str, str], float] = {}  # namespace and name -> when a stranger was seen there

    def of(self, service_uid: str) -> list[Pod]:
        """Every pod that the service controls."""
        now_s = self._clock.monotonic_s()
        seen = self._overlay.over(self.pods.store.by_index("controller", service_uid), now_s)
        return seen + self._overlay.unseen(service_uid)

    def labelled(self, namespace: str, service: str) -> list[Pod]:
        """Every pod with the service's label, whoever controls it."""
        return [p for p in self.pods.store.by_index("service", service) if p.metadata.namespace == namespace]

    def taken(self, namespace: str) -> frozenset[str]:
        """Names of the namespace that strangers' pods have, as far as we have run into them lately; for the planner,
        which takes other numbers."""
        now_s = self._clock.monotonic_s()
        self._taken = {key: at_s for key, at_s in self._taken.items() if now_s - at_s <= FORGET_S}
        return frozenset(name for space, name in self._taken if space == namespace)

    async def adopt(self, namespace: str, name: str, owner: dict[str, Any]) -> None:
        """Make pods ours that carry the service's label and that nobody controls: those of a service of the same name
        that was deleted without them."""
        for pod in self.pods.store.by_index("service", name):
            meta = pod.metadata
            if meta.namespace != namespace or meta.controller is not None or meta.is_deleting:
                continue
            if self._overlay.has(meta.uid):
                continue
            body = {"metadata": {"uid": meta.uid, "ownerReferences": [owner]}}
            try:
                adopted = await self._client.patch(PODS, meta.name, body, namespace)
            except (NotFound, Conflict):
                continue
            self._overlay.made(adopted, self._clock.monotonic_s())

    async def create(self, body: dict[str, Any]) -> Pod:
        """Make a pod. One of that name that is the same pod of ours already is as good; raises NameTaken where it is
        another one, and other ApiErrors. The body is sent whole: templates may have fields that our Pod struct does not
        declare."""
        meta = body["metadata"]
        try:
            answer = await self._client.request("POST", PODS.path(meta["namespace"]), body=body)
            made = PODS.decode(answer.body)
        except AlreadyExists as error:
            made = await self._existing(body, error)
        self._overlay.made(made, self._clock.monotonic_s())
        return made

    async def _existing(self, body: dict[str, Any], error: AlreadyExists) -> Pod:
        meta = body["metadata"]
        try:
            there = await self._client.get(PODS, meta["name"], meta["namespace"])
        except NotFound:
            raise error from None
        owner = next((o["uid"] for o in meta.get("ownerReferences", ()) if o.get("controller")), "")
        labels = meta.get("labels", {})
        same = all(there.metadata.labels.get(key) == labels.get(key) for key in (REPLICA_LABEL, REVISION_LABEL))
        if same and _is_controlled_by(there, owner):
            return there
        self._taken[meta["namespace"], meta["name"]] = self._clock.monotonic_s()
        whose = there.metadata.controller
        owned = f"belongs to {whose.kind} {whose.name}" if whose is not None else "belongs to nobody"
        raise NameTaken(
            f"pod {meta['namespace']}/{meta['name']} exists and {owned}: another number is taken; delete or rename it"
        ) from error

    async def annotate(self, pod: Pod, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of this very pod, or remove them (None); gone is fine."""
        if await self._patch(pod, {"annotations": dict(annotations)}):
            self._overlay.changed(pod.metadata.uid, self._clock.monotonic_s(), annotations=annotations)

    async def label(self, pod: Pod, labels: Mapping[str, str | None]) -> None:
        """Set labels of this very pod, or remove them (None); gone is fine."""
        if await self._patch(pod, {"labels": dict(labels)}):
            self._overlay.changed(pod.metadata.uid, self._clock.monotonic_s(), labels=labels)

    async def delete(self, pod: Pod, grace_s: int | None = None) -> None:
        """Delete this very pod; gone is fine. `grace_s` in place of the pod's own grace period; 0 does not wait for its
        node."""
        meta = pod.metadata
        try:
            await self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid, grace_period_s=grace_s)
        except (NotFound, Conflict):
            return
        self._overlay.deleted(meta.uid, self._clock.monotonic_s(), format_time(self._clock.wall_s()))

    async def _patch(self, pod: Pod, metadata: dict[str, Any]) -> bool:
        meta = pod.metadata
        try:
            await self._client.patch(PODS, meta.name, {"metadata": {"uid": meta.uid, **metadata}}, meta.namespace)
        except (NotFound, Conflict):
            return False
        return True


def _is_controlled_by(pod: Pod, uid: str) -> bool:
    controller = pod.metadata.controller
    return controller is not None and controller.uid == uid
