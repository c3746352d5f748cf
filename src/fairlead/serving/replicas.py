"""The pods of a service as the API has them: found, adopted, created and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.clock import Clock
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, NotFound
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.objects.containers import ContainerStateTerminated
from fairlead.kube.store import by_controller_uid, by_label
from fairlead.serving.plan import Replica
from fairlead.serving.render import HASH_LABEL, SERVICE_LABEL

FORGET_WRITTEN_S = 30.0
"""A pod that we wrote and that no watch has shown by then was deleted before we could see it."""

_STARTING = ("ContainerCreating", "PodInitializing")
_by_service = by_label(SERVICE_LABEL)


class Replicas:
    """Reads from the shared copy of pods, overlaid with our own latest writes: without it a reconcile that runs before
    the watch has caught up would create a pod twice."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self.pods = informers.informer(PODS, indexes={"controller": by_controller_uid, "service": _by_service})
        self._client = client
        self._clock = clock
        self._written: dict[str, tuple[float, Pod]] = {}  # uid -> when, and the pod as the API answered it

    def of(self, service_uid: str) -> list[Pod]:
        """Every pod that the service controls."""
        now_s = self._clock.monotonic_s()
        seen = list(self.pods.store.by_index("controller", service_uid))
        for uid in [p.metadata.uid for p in seen] + [
            u for u, (at_s, _) in self._written.items() if now_s - at_s > FORGET_WRITTEN_S
        ]:
            self._written.pop(uid, None)
        return seen + [p for _, p in self._written.values() if _is_controlled_by(p, service_uid)]

    async def adopt(self, namespace: str, name: str, owner: dict[str, Any]) -> None:
        """Make pods ours that carry the service's label and that nobody controls: those of a service of the same name
        that was deleted without them."""
        for pod in self.pods.store.by_index("service", name):
            meta = pod.metadata
            if meta.namespace != namespace or meta.controller is not None or meta.is_deleting:
                continue
            if meta.uid in self._written:
                continue
            body = {"metadata": {"uid": meta.uid, "ownerReferences": [owner]}}
            try:
                adopted = await self._client.patch(PODS, meta.name, body, namespace)
            except (NotFound, Conflict):
                continue
            self._written[meta.uid] = (self._clock.monotonic_s(), adopted)

    async def create(self, body: dict[str, Any]) -> Pod:
        """Raises ApiError. The body is sent whole: templates may have fields that our Pod struct does not declare."""
        answer = await self._client.request("POST", PODS.path(body["metadata"]["namespace"]), body=body)
        made = PODS.decode(answer.body)
        self._written[made.metadata.uid] = (self._clock.monotonic_s(), made)
        return made

    async def delete(self, pod: Pod) -> None:
        """Delete this very pod; gone is fine."""
        try:
            await self._client.delete(PODS, pod.metadata.name, pod.metadata.namespace, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            return


def observe(pod: Pod, template_hash: str) -> Replica:
    """A pod as the planner sees it."""
    return Replica(
        name=pod.metadata.name,
        updated=pod.metadata.labels.get(HASH_LABEL) == template_hash,
        ready=any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions),
        deleting=pod.metadata.is_deleting,
        failed=pod.status.phase in ("Succeeded", "Failed"),
        created_s=pod.metadata.created_s,
    )


def trouble(pods: Sequence[Pod]) -> str:
    """Why the first pod that is in trouble does not serve, in its own words; empty while all serve or just start."""
    for pod in sorted(pods, key=lambda p: p.metadata.name):
        said = _unscheduled(pod) or _waiting(pod)
        if said and not pod.metadata.is_deleting:
            return f"{pod.metadata.name}: {said}"
    return ""


def _unscheduled(pod: Pod) -> str:
    found = next((c for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), None)
    return found.message if found else ""


def _waiting(pod: Pod) -> str:
    for status in pod.status.container_statuses:
        waiting = status.state.waiting if status.state else None
        last = status.last_state.terminated if status.last_state else None
        if waiting is not None and waiting.reason not in _STARTING:
            # Why it ended says more than how long it waits now.
            why = _end(last) if last is not None else waiting.message
            return f"{waiting.reason}: {why}".rstrip(": ")
        ended = status.state.terminated if status.state else None
        if ended is not None:
            return f"{ended.reason}: {_end(ended)}"
    return ""


def _end(ended: ContainerStateTerminated) -> str:
    return f"exit code {ended.exit_code}" + (f" ({ended.message})" if ended.message else "")


def _is_controlled_by(pod: Pod, uid: str) -> bool:
    controller = pod.metadata.controller
    return controller is not None and controller.uid == uid
