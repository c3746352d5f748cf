"""Persistent volume claims of a pod: where they let it go, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fairlead.kube.objects import PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from fairlead.kube.quantity import Quantity
from fairlead.kube.selectors import Requirement
from fairlead.scheduling.observe.node_terms import node_terms
from fairlead.scheduling.snapshot import Term, VolumeUse

_ZONE_LABELS: Final = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)
_NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True)
class Storage:
    """What is known of storage. Claims by namespace and name; volumes and classes by name."""

    claims: Mapping[tuple[str, str], PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, PersistentVolume] = field(default_factory=dict)
    classes: Mapping[str, StorageClass] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volumes:
    """What the volumes of a pod mean for it."""

    uses: tuple[VolumeUse, ...] = ()
    """Those that bind it to nodes, each kind once."""
    late: tuple[str, ...] = ()
    waits_for: str = ""


NO_VOLUMES: Final = Volumes()


def claim_names(pod: Pod) -> Iterator[str]:
    """Names of the persistent volume claims, those made for ephemeral volumes too."""
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield volume.persistent_volume_claim.claim_name
        elif volume.ephemeral is not None:
            yield f"{pod.metadata.name}-{volume.name}"


def observe_volumes(pod: Pod, storage: Storage) -> Volumes:
    """Rules: the volume binding and volume zone plugins of kube-scheduler, whose words the waits are in."""
    uses: dict[VolumeUse, None] = {}
    late = []
    for name in claim_names(pod):
        claim = storage.claims.get((pod.metadata.namespace, name))
        if claim is None:
            return Volumes(waits_for=f'waits for persistentvolumeclaim "{name}", which does not exist')
        if claim.metadata.is_deleting:
            return Volumes(waits_for=f'waits for persistentvolumeclaim "{name}", which is being deleted')
        volume_name = claim.spec.volume_name
        if volume_name:
            volume = storage.volumes.get(volume_name)
            if volume is None:
                return Volumes(
                    waits_for=f'waits for persistentvolume "{volume_name}" of claim "{name}", which does not exist'
                )
            uses[_bound(volume)] = None
        elif _is_late(claim, storage):
            uses[_late(claim, storage)] = None
            late.append(name)
        else:
            return Volumes(waits_for=f'waits for persistentvolumeclaim "{name}" to be bound to a volume')
    return Volumes(tuple(use for use in uses if use != VolumeUse()), tuple(late))


def _bound(volume: PersistentVolume) -> VolumeUse:
    zones = tuple(
        Requirement(key, "in", tuple(value.split("__")))
        for key in _ZONE_LABELS
        if (value := volume.metadata.labels.get(key)) is not None
    )
    return VolumeUse(_places(volume), zones)


def _places(volume: PersistentVolume) -> tuple[Term, ...] | None:
    affinity = volume.spec.node_affinity
    return None if affinity is None or affinity.required is None else node_terms(affinity.required)


def _is_late(claim: PersistentVolumeClaim, storage: Storage) -> bool:
    found = storage.classes.get(claim.spec.storage_class_name or "")
    return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"


def _late(claim: PersistentVolumeClaim, storage: Storage) -> VolumeUse:
    """Where a volume can be made, or is there already and free."""
    kind = storage.classes[claim.spec.storage_class_name or ""]
    alternatives: list[tuple[Term, ...] | None] = [_places(volume) for volume in _candidates(claim, storage)]
    if kind.provisioner != _NO_PROVISIONER:
        alternatives.append(_allowed(kind))
    if any(terms is None for terms in alternatives):
        return VolumeUse(None, is_late=True)
    return VolumeUse(tuple(dict.fromkeys(term for terms in alternatives for term in terms or ())), is_late=True)


def _allowed(kind: StorageClass) -> tuple[Term, ...] | None:
    terms = tuple(
        Term(tuple(Requirement(each.key, "in", tuple(each.values)) for each in term.match_label_expressions))
        for term in kind.allowed_topologies
    )
    return terms or None


def _candidates(claim: PersistentVolumeClaim, storage: Storage) -> Iterable[PersistentVolume]:
    """Free volumes that would satisfy the claim."""
    wanted = claim.spec.resources.requests.get("storage", "0") if claim.spec.resources else "0"
    for volume in storage.volumes.values():
        spec, holder = volume.spec, volume.spec.claim_ref
        if spec.storage_class_name != claim.spec.storage_class_name:
            continue
        is_free = volume.status.phase in ("", "Available") and holder is None
        is_ours = holder is not None and (holder.namespace, holder.name) == (
            claim.metadata.namespace,
            claim.metadata.name,
        )
        if not (is_free or is_ours) or (spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
            continue
        if not set(claim.spec.access_modes) <= set(spec.access_modes):
            continue
        if Quantity.parse(spec.capacity.get("storage", "0")) >= Quantity.parse(wanted):
            yield volume
