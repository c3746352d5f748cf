"""Volumes of pods, and claims to persistent ones (core/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.meta import KubernetesObject, LabelSelector, ObjectMeta, Part


class LocalObjectReference(Part, frozen=True, gc=False):
    name: str = ""


class ObjectReference(Part, frozen=True, gc=False):
    api_version: str = ""
    field_path: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    uid: str = ""


class TypedLocalObjectReference(Part, frozen=True, gc=False):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class KeyToPath(Part, frozen=True, gc=False):
    key: str = ""
    mode: int | None = None
    path: str = ""


class ObjectFieldSelector(Part, frozen=True, gc=False):
    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(Part, frozen=True, gc=False):
    container_name: str = ""
    divisor: str = ""
    resource: str = ""


class ConfigMapVolumeSource(Part, frozen=True, gc=False):
    default_mode: int | None = None
    items: Sequence[KeyToPath] = ()
    name: str = ""
    optional: bool | None = None


class SecretVolumeSource(Part, frozen=True, gc=False):
    default_mode: int | None = None
    items: Sequence[KeyToPath] = ()
    optional: bool | None = None
    secret_name: str = ""


class DownwardAPIVolumeFile(Part, frozen=True, gc=False):
    field_ref: ObjectFieldSelector | None = None
    mode: int | None = None
    path: str = ""
    resource_field_ref: ResourceFieldSelector | None = None


class DownwardAPIVolumeSource(Part, frozen=True, gc=False):
    default_mode: int | None = None
    items: Sequence[DownwardAPIVolumeFile] = ()


class EmptyDirVolumeSource(Part, frozen=True, gc=False):
    medium: str = ""
    size_limit: str = ""


class HostPathVolumeSource(Part, frozen=True, gc=False):
    path: str = ""
    type: str = ""


class PersistentVolumeClaimVolumeSource(Part, frozen=True, gc=False):
    claim_name: str = ""
    read_only: bool | None = None


class CSIVolumeSource(Part, frozen=True, gc=False):
    driver: str = ""
    fs_type: str = ""
    node_publish_secret_ref: LocalObjectReference | None = None
    read_only: bool | None = None
    volume_attributes: Mapping[str, str] = {}


class ImageVolumeSource(Part, frozen=True, gc=False):
    pull_policy: str = ""
    reference: str = ""


class ConfigMapProjection(Part, frozen=True, gc=False):
    items: Sequence[KeyToPath] = ()
    name: str = ""
    optional: bool | None = None


class SecretProjection(Part, frozen=True, gc=False):
    items: Sequence[KeyToPath] = ()
    name: str = ""
    optional: bool | None = None


class DownwardAPIProjection(Part, frozen=True, gc=False):
    items: Sequence[DownwardAPIVolumeFile] = ()


class ServiceAccountTokenProjection(Part, frozen=True, gc=False):
    audience: str = ""
    expiration_seconds: int | None = None
    path: str = ""


class VolumeProjection(Part, frozen=True, gc=False):
    config_map: ConfigMapProjection | None = None
    downward_api: DownwardAPIProjection | None = None
    secret: SecretProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(Part, frozen=True, gc=False):
    default_mode: int | None = None
    sources: Sequence[VolumeProjection] = ()


class VolumeResourceRequirements(Part, frozen=True, gc=False):
    limits: Mapping[str, str] = {}
    requests: Mapping[str, str] = {}


class PersistentVolumeClaimSpec(Part, frozen=True, gc=False):
    access_modes: Sequence[str] = ()
    resources: VolumeResourceRequirements | None = None
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_mode: str = ""
    volume_name: str = ""


class PersistentVolumeClaimTemplate(Part, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeClaimSpec | None = None


class EphemeralVolumeSource(Part, frozen=True, gc=False):
    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class Volume(Part, frozen=True, gc=False):
    config_map: ConfigMapVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    image: ImageVolumeSource | None = None
    name: str = ""
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    secret: SecretVolumeSource | None = None


class PersistentVolumeClaimCondition(Part, frozen=True, gc=False):
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class PersistentVolumeClaimStatus(Part, frozen=True, gc=False):
    access_modes: Sequence[str] = ()
    allocated_resource_statuses: Mapping[str, str] = {}
    allocated_resources: Mapping[str, str] = {}
    capacity: Mapping[str, str] = {}
    conditions: Sequence[PersistentVolumeClaimCondition] = ()
    phase: str = ""


class PersistentVolumeClaim(KubernetesObject, frozen=True, gc=False):
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()
