"""Persistent volumes (core/v1) and the classes that make them (storage.k8s.io/v1), as far as placement reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.meta import KubernetesObject, Part
from fairlead.kube.objects.placement import NodeSelector
from fairlead.kube.objects.volumes import ObjectReference


class VolumeNodeAffinity(Part, frozen=True, gc=False):
    required: NodeSelector | None = None


class CSIPersistentVolumeSource(Part, frozen=True, gc=False):
    driver: str = ""
    fs_type: str = ""
    read_only: bool | None = None
    volume_attributes: Mapping[str, str] = {}
    volume_handle: str = ""


class LocalVolumeSource(Part, frozen=True, gc=False):
    fs_type: str = ""
    path: str = ""


class PersistentVolumeSpec(Part, frozen=True, gc=False):
    access_modes: Sequence[str] = ()
    capacity: Mapping[str, str] = {}
    claim_ref: ObjectReference | None = None
    csi: CSIPersistentVolumeSource | None = None
    local: LocalVolumeSource | None = None
    mount_options: Sequence[str] = ()
    node_affinity: VolumeNodeAffinity | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    volume_mode: str = ""


class PersistentVolumeStatus(Part, frozen=True, gc=False):
    last_phase_transition_time: str | None = None
    message: str = ""
    phase: str = ""
    reason: str = ""


class PersistentVolume(KubernetesObject, frozen=True, gc=False):
    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class TopologySelectorLabelRequirement(Part, frozen=True, gc=False):
    key: str = ""
    values: Sequence[str] = ()


class TopologySelectorTerm(Part, frozen=True, gc=False):
    match_label_expressions: Sequence[TopologySelectorLabelRequirement] = ()


class StorageClass(KubernetesObject, frozen=True, gc=False):
    allow_volume_expansion: bool | None = None
    allowed_topologies: Sequence[TopologySelectorTerm] = ()
    mount_options: Sequence[str] = ()
    parameters: Mapping[str, str] = {}
    provisioner: str = ""
    reclaim_policy: str = ""
    volume_binding_mode: str = ""
