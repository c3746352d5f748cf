"""A pod's view, and the interning of shapes: pods of one template get one `Shape` object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from fairlead.clock import parse_time
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.kube.objects.devices import ResourceClaimStatus
from fairlead.kube.selectors import Selector
from fairlead.scheduling.observe import claims as of_claims
from fairlead.scheduling.observe.facts import pod_facts
from fairlead.scheduling.observe.models import POD_MODEL, models_of_pod
from fairlead.scheduling.observe.node_terms import preferred_terms, required_terms
from fairlead.scheduling.observe.pod_terms import (
    Namespaces,
    far_terms,
    mentioned_keys,
    near_terms,
    selected_namespaces,
    spread_constraints,
)
from fairlead.scheduling.observe.requests import pod_host_ports, pod_requests
from fairlead.scheduling.observe.volumes import NO_VOLUMES, Storage, Volumes, observe_volumes
from fairlead.scheduling.snapshot import PodView, Shape, Toleration

_SHAPES: Final = 8192
"""Shapes of each generation: those not seen for longer are made anew when they come again."""


@dataclass(frozen=True, slots=True)
class Context:
    """What pods refer to. The mappings may be live ones."""

    claims: Mapping[tuple[str, str], ResourceClaim] = field(default_factory=dict)
    """By namespace and name."""
    namespaces: Namespaces = field(default_factory=dict)
    """Labels of the namespaces, for namespace selectors of pod affinity."""
    storage: Storage = field(default_factory=Storage)


class Observer:
    """Views of pods. Two pods that are placed alike get the same `Shape`.

    Labels are part of a shape as far as somebody's constraints ask for them, so that pods of two gangs are alike that
    differ in labels nobody looks at. When a pod comes that asks for a new label, or `mention` is called, `epoch`
    rises: views made before must be made anew.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.selects_namespaces = False
        """Whether a pod has asked for namespaces by their labels."""
        self._mentioned: list[str] = []
        self._known_constraints: set[bytes] = set()
        self._young: dict[bytes, Shape] = {}
        self._old: dict[bytes, Shape] = {}
        self._encode = msgspec.msgpack.Encoder().encode

    def observe_pod(self, pod: Pod, context: Context) -> PodView:
        """The view of a pod. Raises ValueError for a quantity or a time that is none, naming the pod and the field."""
        meta, spec = pod.metadata, pod.spec
        names = of_claims.claim_names(pod)
        own, shared = of_claims.split_claims(pod, names, context.claims) if names else ([], [])
        volumes = observe_volumes(pod, context.storage) if spec.volumes else NO_VOLUMES
        return PodView(
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            shape=self._shape(pod, own, shared, volumes, context),
            priority=spec.priority or 0,
            own_claims=tuple([claim.metadata.name for claim in own]),
            claims=names,
            labels=meta.labels,
            late_volumes=volumes.late,
            waits_for=_waits_for(pod, context, volumes),
            created_s=_time(pod, "metadata.creationTimestamp", meta.creation_timestamp) or 0.0,
            node=spec.node_name,
            nominated=pod.status.nominated_node_name,
            is_leaving=meta.is_deleting,
            leaves_by_s=_time(pod, "metadata.deletionTimestamp", meta.deletion_timestamp),
            started_s=_time(pod, "status.startTime", pod.status.start_time),
            may_preempt=spec.preemption_policy != "Never",
            facts=pod_facts(pod),
        )

    def mention(self, keys: Selector | set[str]) -> None:
        """Somebody else asks for these labels of shapes."""
        self._mention({r.key for r in keys.requirements} if isinstance(keys, Selector) else keys)

    def forget(self) -> None:
        """Something that shapes were resolved with is different (labels of a namespace): views must be made anew."""
        self._young, self._old = {}, {}
        self.epoch += 1

    def _mention(self, keys: set[str]) -> None:
        new = keys.difference(self._mentioned)
        if new:
            self._mentioned = sorted({*self._mentioned, *new})
            self.forget()

    def _shape(
        self,
        pod: Pod,
        own: list[ResourceClaim],
        shared: list[tuple[str, str]],
        volumes: Volumes,
        context: Context,
    ) -> Shape:
        spec = pod.spec
        selected: Any = None
        constraints = b""
        affinity = spec.affinity
        if spec.topology_spread_constraints or (affinity and (affinity.pod_affinity or affinity.pod_anti_affinity)):
            constraints = self._encode((spec.affinity, spec.topology_spread_constraints))
            if constraints not in self._known_constraints:
                self._mention(mentioned_keys(pod))
                self._known_constraints.add(constraints)
            selected = selected_namespaces(pod, context.namespaces)
            self.selects_namespaces = self.selects_namespaces or bool(selected)
        elif affinity is not None:
            constraints = self._encode(affinity)
        labels = pod.metadata.labels
        asked = {key: labels[key] for key in self._mentioned if key in labels}
        key = self._encode(
            (
                pod.metadata.namespace,
                asked,
                constraints,
                selected,
                spec.node_selector,
                spec.tolerations,
                [(c.image, c.resources, c.ports) for c in spec.containers],
                [(c.image, c.resources, c.ports, c.restart_policy) for c in spec.init_containers],
                spec.overhead,
                spec.resources,
                [claim.spec for claim in own],
                shared,
                [repr(use) for use in volumes.uses],
                pod.metadata.annotations.get(POD_MODEL),
            )
        )
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None) or _make_shape(pod, asked, own, shared, volumes, context)
            if len(self._young) >= _SHAPES:
                self._old, self._young = self._young, {}
            self._young[key] = found
        return found


def _make_shape(
    pod: Pod,
    labels: Mapping[str, str],
    own: list[ResourceClaim],
    shared: list[tuple[str, str]],
    volumes: Volumes,
    context: Context,
) -> Shape:
    try:
        requests = pod_requests(pod)
    except ValueError as error:
        raise ValueError(f"pod {pod.metadata.namespace}/{pod.metadata.name}: resources: {error}") from error
    return Shape(
        namespace=pod.metadata.namespace,
        requests=requests,
        labels=labels,
        node_selector=pod.spec.node_selector,
        affinity_terms=required_terms(pod),
        preferred_terms=preferred_terms(pod),
        tolerations=tuple(Toleration(t.key, t.operator or "Equal", t.value, t.effect) for t in pod.spec.tolerations),
        host_ports=pod_host_ports(pod),
        near=near_terms(pod, context.namespaces),
        far=far_terms(pod, context.namespaces),
        spread=spread_constraints(pod),
        volumes=volumes.uses,
        images=tuple(_image(c.image) for c in (*pod.spec.init_containers, *pod.spec.containers)),
        models=models_of_pod(pod.metadata.annotations),
        own_claims=tuple(msgspec.structs.replace(claim, status=ResourceClaimStatus()) for claim in own),
        shared_claims=tuple(shared),
        devices=of_claims.count_devices(own),
    )


def _image(name: str) -> str:
    """With the tag that a node would list it by."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _waits_for(pod: Pod, context: Context, volumes: Volumes) -> str:
    if pod.spec.scheduling_gates:
        return f"waits for scheduling gates: {', '.join(g.name for g in pod.spec.scheduling_gates)}"
    return of_claims.claims_wait(pod, context.claims) or volumes.waits_for


def _time(pod: Pod, field_name: str, text: str | None) -> float | None:
    if not text:
        return None
    try:
        return _parsed(text)
    except ValueError as error:
        raise ValueError(f"pod {pod.metadata.namespace}/{pod.metadata.name}: {field_name}: {error}") from error


@lru_cache(maxsize=4096)
def _parsed(text: str) -> float:
    return parse_time(text)
