"""Volume sources that pods and persistent volumes have in common: host paths, network file systems, CSI, clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import invalid, not_supported, required, too_long
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.names import dns_label, dns_subdomain, range_message
from fairlead.embedded.apiserver.kinds.pod_paths import validate_descending_path, validate_no_backsteps

_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_CACHING_MODES = ("None", "ReadOnly", "ReadWrite")
_DISK_KINDS = ("Dedicated", "Managed", "Shared")

# Kinds whose only rule is which fields must be there.
_REQUIRED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "glusterfs": ("endpoints", "path"),
    "rbd": ("monitors", "image"),
    "cinder": ("volumeID",),
    "cephfs": ("monitors",),
    "azureFile": ("secretName", "shareName"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "scaleIO": ("gateway", "system", "volumeName"),
    "flexVolume": ("driver",),
}


def validate_shared_source(
    errors: Errors, kind: str, source: Mapping[str, Any], path: str, *, volume_name: str = ""
) -> None:
    """A source of one of `SHARED_SOURCES`; `path` is that of the volume (or of a persistent volume's spec)."""
    at = f"{path}.persistentDisk" if kind == "gcePersistentDisk" else f"{path}.{kind}"
    for key in _REQUIRED_FIELDS.get(kind, ()):
        if not source.get(key):
            errors.append(required(f"{at}.{key}"))
    check = _CHECKS.get(kind)
    if check is not None:
        check(errors, source, at)
    if kind == "iscsi" and source.get("initiatorName") and len(f"{volume_name}:{source.get('targetPortal', '')}") > 64:
        detail = (
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName "
            "is specified."
        )
        errors.append(invalid(f"{path}.name", volume_name, detail))


def _host_path(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    target, kind = source.get("path", ""), source.get("type")
    if not target:
        errors.append(required(f"{path}.path"))
        return
    validate_no_backsteps(errors, target, f"{path}.path")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        errors.append(not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))


def _git_repo(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    if not source.get("repository"):
        errors.append(required(f"{path}.repository"))
    validate_descending_path(errors, source.get("directory", ""), f"{path}.directory")


def _disk(name_key: str) -> Any:
    def check(errors: Errors, source: Mapping[str, Any], path: str) -> None:
        if not source.get(name_key):
            errors.append(required(f"{path}.{name_key}"))
        partition = source.get("partition", 0)
        if not 0 <= partition <= 255:
            errors.append(invalid(f"{path}.partition", partition, range_message(1, 255)))

    return check


def _nfs(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    for key in ("server", "path"):
        if not source.get(key):
            errors.append(required(f"{path}.{key}"))
    target = source.get("path", "")
    if not target.startswith("/"):
        errors.append(invalid(f"{path}.path", target, "must be an absolute path"))


def _iscsi(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    if not source.get("targetPortal"):
        errors.append(required(f"{path}.targetPortal"))
    name = source.get("iqn", "")
    if not name:
        errors.append(required(f"{path}.iqn"))
    elif not name.startswith(("iqn", "eui", "naa")):
        errors.append(invalid(f"{path}.iqn", name, "must be valid format starting with iqn, eui, or naa"))
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        errors.append(invalid(f"{path}.lun", lun, range_message(0, 255)))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errors.append(required(f"{path}.secretRef"))


def _flocker(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    if not name and not uuid:
        errors.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(invalid(path, "resource", detail))
    if "/" in name:
        errors.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))


def _quobyte(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    detail = "must be a host:port pair or multiple pairs separated by commas"
    registry = source.get("registry", "")
    if not registry:
        errors.append(required(f"{path}.registry", detail))
    elif len(source.get("tenant", "")) >= 65:
        errors.append(required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters"))
    else:
        for pair in registry.split(","):
            if ":" not in pair:
                errors.append(invalid(f"{path}.registry", registry, detail))
    if not source.get("volume"):
        errors.append(required(f"{path}.volume"))


def _fibre_channel(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    targets, identifiers = source.get("targetWWNs") or (), source.get("wwids") or ()
    if not targets and not identifiers:
        errors.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if targets and identifiers:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(invalid(f"{path}.targetWWNs", targets, detail))
    if targets:
        lun = source.get("lun")
        if lun is None:
            errors.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        elif not 0 <= lun <= 255:
            errors.append(invalid(f"{path}.lun", lun, range_message(0, 255)))


def _flex_volume(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    for key in source.get("options") or ():
        domain = "." + key.partition("/")[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(invalid(f"{path}.options[{key}]", key, detail))


def _azure_disk(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    uri, kind, caching = source.get("diskURI", ""), source.get("kind"), source.get("cachingMode")
    if not source.get("diskName"):
        errors.append(required(f"{path}.diskName"))
    if not uri:
        errors.append(required(f"{path}.diskURI"))
    if caching is not None and caching not in _CACHING_MODES:
        errors.append(not_supported(f"{path}.cachingMode", caching, _CACHING_MODES))
    if kind is not None and kind not in _DISK_KINDS:
        errors.append(not_supported(f"{path}.kind", kind, _DISK_KINDS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        errors.append(not_supported(f"{path}.diskURI", uri, (form,)))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        errors.append(not_supported(f"{path}.diskURI", uri, (form,)))


def _storage_os(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    name = source.get("volumeName", "")
    if not name:
        errors.append(required(f"{path}.volumeName"))
    else:
        errors += [invalid(f"{path}.volumeName", name, message) for message in dns_label(name)]


def _csi(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    validate_driver_name(errors, source.get("driver", ""), f"{path}.driver")
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        name = secret.get("name", "")
        if not name:
            errors.append(required(f"{path}.nodePublishSecretRef.name"))
        else:
            errors += [invalid(f"{path}.name", name, message) for message in dns_subdomain(name)]


def validate_driver_name(errors: Errors, name: str, path: str) -> None:
    """The name of a CSI driver: a DNS subdomain in any case, at most 63 characters."""
    if not name:
        errors.append(required(path))
    if len(name) > 63:
        errors.append(too_long(path, 63))
    errors += [invalid(path, name, message) for message in dns_subdomain(name.lower())]


_CHECKS = {
    "hostPath": _host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "nfs": _nfs,
    "iscsi": _iscsi,
    "flocker": _flocker,
    "quobyte": _quobyte,
    "fc": _fibre_channel,
    "flexVolume": _flex_volume,
    "azureDisk": _azure_disk,
    "storageos": _storage_os,
    "csi": _csi,
}
SHARED_SOURCES = frozenset((*_CHECKS, *_REQUIRED_FIELDS))
"""Sources that `validate_shared_source` knows, by their JSON names."""
