"""What a placement decision sees: nodes, and pods with what they ask for. Plain values; who holds what is in `fleet`.

Amounts are integers in base units: cpu in millicores, everything else in units (bytes, pods, devices).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fairlead.kube.objects.devices import ResourceClaim
from fairlead.kube.selectors import Requirement, Selector

Amounts = Mapping[str, int]
"""Resource name -> amount; "cpu" in millicores, "memory" in bytes, "pods" in pods."""

HOST = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Toleration:
    """As in a pod spec; an empty key with Exists tolerates everything, an empty effect every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value


@dataclass(frozen=True, slots=True)
class Term:
    """A node selector term: all of its requirements; an empty term matches no node."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, node: NodeView) -> bool:
        if not self.labels and not self.fields:
            return False
        named = {"metadata.name": node.name}
        return all(r.matches(node.labels) for r in self.labels) and all(r.matches(named) for r in self.fields)


@dataclass(frozen=True, slots=True, eq=False)
class NodeView:
    """A node as its object describes it. Compared by identity: a changed node has a new one."""

    name: str
    allocatable: Amounts
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    images: Mapping[str, int] = field(default_factory=dict)
    """Image name -> size in bytes, of what is on the node already."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    """Digest or source of a model -> size in bytes, of what is in the node's model cache."""

    def value(self, level: str) -> str | None:
        """Its domain at a topology level; a node without the label is in none. Every node is its own host."""
        return self.labels.get(level, self.name if level == HOST else None)


HostPort = tuple[str, str, int]
"""Host IP ("0.0.0.0" for all), protocol, port."""


@dataclass(frozen=True, slots=True)
class PodTerm:
    """Pods that a pod wants near, or far: those of the namespaces that the selector matches, in the same domain."""

    selector: Selector
    namespaces: frozenset[str]
    """Already resolved (namespaceSelector too); empty for all."""
    level: str
    """The node label that makes the domain."""
    weight: int = 0
    """0 where required, else 1 to 100."""


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """A topology spread constraint; labels of `matchLabelKeys` are in the selector already."""

    level: str
    max_skew: int
    is_required: bool
    selector: Selector
    min_domains: int = 1
    honours_affinity: bool = True
    honours_taints: bool = False


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A persistent volume claim of a pod, as far as it binds the pod to nodes. Without a name: pods of a stateful set
    whose volumes are in one zone are alike."""

    terms: tuple[Term, ...] | None = None
    """Where the volume can be used (any of them); None for everywhere."""
    zones: tuple[Requirement, ...] = ()
    """Zone and region that the volume's labels name: what binds volumes without a node affinity."""
    is_late: bool = False
    """It gets its volume once a node is chosen (WaitForFirstConsumer); `terms` are then its class's topologies and the
    places of free volumes that would do. `PodView.late_volumes` has the names."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """All of a pod that a placement depends on. Pods of one template share one: compared by identity.

    `observe` interns shapes; everything remembered per shape is remembered by this object.
    """

    namespace: str
    requests: Amounts
    """"pods": 1 and the overhead included."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those that affinities or spread constraints of some pod ask about; `PodView.labels` has all. Others would make
    pods differ that are placed alike, such as those of two gangs."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity_terms: tuple[Term, ...] | None = None
    """Required node affinity: any of the terms; None where there is none."""
    preferred_terms: tuple[tuple[int, Term], ...] = ()
    """Weight and term of preferred node affinity."""
    tolerations: tuple[Toleration, ...] = ()
    host_ports: frozenset[HostPort] = frozenset()
    near: tuple[PodTerm, ...] = ()
    """Pod affinity: all required ones (weight 0), preferred ones by weight."""
    far: tuple[PodTerm, ...] = ()
    """Pod anti-affinity; preferred ones with the weight that the pod spec gives, 1 to 100."""
    spread: tuple[SpreadConstraint, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()
    images: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Names of the model that it loads, each of which a node may have it under."""
    own_claims: tuple[ResourceClaim, ...] = ()
    """Claims made for such a pod alone that have no devices yet, in the pod's order: any pod's will do, they are alike.
    `PodView.own_claims` names the actual ones."""
    shared_claims: tuple[tuple[str, str], ...] = ()
    """Namespace and name of the claims that it shares with others, allocated or not: `Fleet.claims` knows."""
    devices: Amounts = field(default_factory=dict)
    """What its own claims count for in quotas: `CLASS.deviceclass.resource.k8s.io/devices` -> devices."""

    @property
    def demand(self) -> Amounts:
        """What it counts for in quotas."""
        return {**self.requests, **self.devices}


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod, bound or not."""

    namespace: str
    name: str
    uid: str
    shape: Shape
    priority: int = 0
    own_claims: tuple[str, ...] = ()
    """Names of the claims that `shape.own_claims` stand for, in their order."""
    claims: tuple[str, ...] = ()
    """Names of all its claims."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All its labels."""
    late_volumes: tuple[str, ...] = ()
    """Names of its persistent volume claims that get their volumes once a node is chosen."""
    waits_for: str = ""
    """Why the pod cannot be placed yet whatever the nodes are (a gate, a claim that is not there); empty if nothing."""
    created_s: float = 0.0
    node: str = ""
    """Where it is bound; empty if nowhere."""
    nominated: str = ""
    """The node that was cleared for it."""
    is_leaving: bool = False
    """Whether it is being deleted: it still takes its place, but not for long."""
    leaves_by_s: float | None = None
    """When its grace period ends; None where it is not being deleted. Later than that it is stuck."""
    started_s: float | None = None
    """When it began to run."""
    may_preempt: bool = True
    """Whether its preemptionPolicy lets others be evicted for it."""
    facts: PodFacts | None = None
    """What matters when pods are weighed against each other."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What evicting a pod would cost, as its owner tells in annotations and status."""

    grace_s: float = 30.0
    progress: float | None = None
    """Share of its work that is done, 0 to 1 (`fairlead.dev/progress`); None where nobody says."""
    warmth: float | None = None
    """How much of value it holds in memory, 0 to 1 (`fairlead.dev/cache-warmth`); None where nobody says."""
    work: Literal["serving", "batch", ""] = ""
    """`fairlead.dev/work`: serving, or batch that yields; "" for neither."""
    is_mirror_or_daemon: bool = False
    """Static pods and those of DaemonSets are never evicted."""
    comes_back: bool = True
    """Whether it has a controller, which makes another where it is evicted."""


def add(left: Amounts, right: Amounts) -> dict[str, int]:
    """Sum of two amounts, resource by resource."""
    return {name: left.get(name, 0) + right.get(name, 0) for name in left.keys() | right.keys()}
