"""Columns of volumes, claims to them, and the group storage.k8s.io."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.embedded.apiserver.printing.cells import AGE, NAME, NONE, UNSET, computed, get, text
from fairlead.embedded.apiserver.registry import Column, Object

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def _access_modes(modes: Sequence[str]) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def _phase(obj: Object) -> str:
    if get(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    return str(get(obj, "status", "phase", default=""))


def _class_of(obj: Object) -> str:
    annotated = get(obj, "metadata", "annotations", _BETA_CLASS)
    return str(annotated if annotated is not None else get(obj, "spec", "storageClassName", default=""))


def _claim_modes(claim: Object) -> str:
    return _access_modes(get(claim, "status", "accessModes", default=())) if get(claim, "spec", "volumeName") else ""


def _claim_capacity(claim: Object) -> str:
    if not get(claim, "spec", "volumeName"):
        return ""
    return str(get(claim, "status", "capacity", "storage", default="0"))


def _bound_claim(volume: Object) -> str:
    claim = get(volume, "spec", "claimRef")
    return "" if claim is None else f"{claim.get('namespace', '')}/{claim.get('name', '')}"


_CLASS = computed("StorageClass", "Class of the storage.", _class_of)
_ATTRIBUTES_CLASS = text(
    "VolumeAttributesClass", "Class of the volume's attributes.", "spec", "volumeAttributesClassName", default=UNSET
)
_VOLUME_MODE = text(
    "VolumeMode", "Whether the volume has a file system.", "spec", "volumeMode", default=UNSET, priority=1
)


def _is_default(storage_class: Object) -> bool:
    annotations = get(storage_class, "metadata", "annotations", default={})
    return "true" in (annotations.get(_DEFAULT_CLASS), annotations.get(_BETA_DEFAULT_CLASS))


def _class_name(storage_class: Object) -> str:
    name = str(get(storage_class, "metadata", "name", default=""))
    return f"{name} (default)" if _is_default(storage_class) else name


def _boolean(name: str, description: str, key: str, *, default: bool = False) -> Column:
    return text(name, description, "spec", key, default=default, type_="boolean")


def _token_requests(driver: Object) -> str:
    audiences = [item.get("audience", "") for item in get(driver, "spec", "tokenRequests", default=())]
    return ",".join(audiences) if audiences else UNSET


def _lifecycle_modes(driver: Object) -> str:
    return ",".join(get(driver, "spec", "volumeLifecycleModes", default=())) or NONE


def _attacher(attachment: Object, now: float) -> str:
    return str(get(attachment, "spec", "attacher", default=""))


COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    ("", "PersistentVolume"): (
        NAME,
        text("Capacity", "Size of the volume.", "spec", "capacity", "storage", default="0"),
        computed(
            "Access Modes",
            "How the volume may be mounted.",
            lambda obj: _access_modes(get(obj, "spec", "accessModes", default=())),
        ),
        text("Reclaim Policy", "What happens when it is released.", "spec", "persistentVolumeReclaimPolicy"),
        computed("Status", "Phase of the volume.", _phase),
        computed("Claim", "The claim that has the volume.", _bound_claim),
        _CLASS,
        _ATTRIBUTES_CLASS,
        text("Reason", "Why it is in this phase.", "status", "reason"),
        AGE,
        _VOLUME_MODE,
    ),
    ("", "PersistentVolumeClaim"): (
        NAME,
        computed("Status", "Phase of the claim.", _phase),
        text("Volume", "The volume that it got.", "spec", "volumeName"),
        computed("Capacity", "Size of that volume.", _claim_capacity),
        computed("Access Modes", "How that volume may be mounted.", _claim_modes),
        _CLASS,
        _ATTRIBUTES_CLASS,
        AGE,
        _VOLUME_MODE,
    ),
    ("storage.k8s.io", "CSIDriver"): (
        NAME,
        _boolean("AttachRequired", "Whether volumes are attached before use.", "attachRequired", default=True),
        _boolean("PodInfoOnMount", "Whether the driver learns about the pod.", "podInfoOnMount"),
        _boolean("StorageCapacity", "Whether the driver publishes its capacity.", "storageCapacity"),
        computed("TokenRequests", "Audiences of the tokens that it gets.", _token_requests),
        _boolean("RequiresRepublish", "Whether mounts are refreshed.", "requiresRepublish"),
        computed("Modes", "Lifecycles of volumes that it knows.", _lifecycle_modes),
        AGE,
    ),
    ("storage.k8s.io", "CSINode"): (
        NAME,
        computed(
            "Drivers",
            "How many drivers run on the node.",
            lambda obj: len(get(obj, "spec", "drivers", default=())),
            type_="integer",
        ),
        AGE,
    ),
    ("storage.k8s.io", "StorageClass"): (
        Column(NAME.name, NAME.type, NAME.description, lambda obj, now: _class_name(obj), format=NAME.format),
        text("Provisioner", "Who makes the volumes.", "provisioner"),
        text("ReclaimPolicy", "What happens to released volumes.", "reclaimPolicy", default="Delete"),
        text("VolumeBindingMode", "When volumes are bound.", "volumeBindingMode", default="Immediate"),
        text("AllowVolumeExpansion", "Whether volumes may grow.", "allowVolumeExpansion", default=False),
        AGE,
    ),
    ("storage.k8s.io", "VolumeAttachment"): (
        NAME,
        Column("Attacher", "string", "The driver that attaches.", _attacher, format="name"),
        text("PV", "The volume.", "spec", "source", "persistentVolumeName"),
        text("Node", "The node.", "spec", "nodeName"),
        text("Attached", "Whether it is attached.", "status", "attached", default=False, type_="boolean"),
        AGE,
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): (
        NAME,
        text("DriverName", "The driver that it is for.", "driverName"),
        AGE,
    ),
}
