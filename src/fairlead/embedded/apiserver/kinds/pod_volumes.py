"""Validation of a pod's volumes: exactly one source each, and the rules of every source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_one_of
from fairlead.embedded.apiserver.kinds.names import dns_label, dns_subdomain
from fairlead.embedded.apiserver.kinds.persistent_volume_claim import validate_claim_template
from fairlead.embedded.apiserver.kinds.pod_environment import (
    VOLUME_FIELDS,
    validate_field_ref,
    validate_resource_ref,
)
from fairlead.embedded.apiserver.kinds.pod_paths import validate_local_path
from fairlead.embedded.apiserver.kinds.selectors import validate_label_selector
from fairlead.embedded.apiserver.kinds.volume_sources import SHARED_SOURCES, validate_shared_source
from fairlead.kube.quantity import Quantity, parse_quantity

_MODE_MESSAGE = "must be a number between 0 and 0777 (octal), both inclusive"
_ONE_KIND = "may not specify more than 1 volume type"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_SHORTEST_TOKEN_S, _LONGEST_TOKEN_S = 600, 1 << 32

# The order in which the API looks at sources decides which of several is reported.
_SOURCES = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral", "image",
)  # fmt: skip
_REFUSED_AS = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}


def validate_volumes(
    errors: Errors, volumes: Sequence[Mapping[str, Any]], pod_name: str, path: str, *, is_pod: bool
) -> dict[str, Mapping[str, Any]]:
    """Validate `volumes` and return the valid ones by name. `pod_name` is empty for pod templates."""
    created_claims = (
        {f"{pod_name}-{volume.get('name', '')}" for volume in volumes if volume.get("ephemeral") is not None}
        if pod_name
        else ()
    )
    valid: dict[str, Mapping[str, Any]] = {}
    for index, volume in enumerate(volumes):
        at, before = f"{path}[{index}]", len(errors)
        name = volume.get("name", "")
        _validate_source(errors, volume, name, pod_name, at, is_pod=is_pod)
        if not name:
            errors.append(required(f"{at}.name"))
        else:
            add_each(errors, f"{at}.name", name, dns_label(name))
        if name in valid:
            errors.append(duplicate(f"{at}.name", name))
        if len(errors) == before:
            valid[name] = volume
        claim = volume.get("persistentVolumeClaim")
        if claim is not None and claim.get("claimName") in created_claims:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(f"{at}.persistentVolumeClaim.claimName", claim["claimName"], detail))
    return valid


def _validate_source(
    errors: Errors, volume: Mapping[str, Any], name: str, pod_name: str, path: str, *, is_pod: bool
) -> None:
    found = False
    for kind in volume.keys() & _SOURCE_SET if len(volume) <= 2 else _SOURCES:
        source = volume.get(kind)
        if source is None:
            continue
        if found:
            errors.append(forbidden(f"{path}.{_REFUSED_AS.get(kind, kind)}", _ONE_KIND))
            continue
        found = True
        if kind == "ephemeral":
            _validate_ephemeral(errors, source, name, pod_name, path)
        elif kind == "image":
            _validate_image(errors, source, f"{path}.image", is_pod=is_pod)
        elif kind in SHARED_SOURCES:
            validate_shared_source(errors, kind, source, path, volume_name=name)
        else:
            _OWN_SOURCES[kind](errors, source, f"{path}.{kind}")
    if not found:
        errors.append(required(path, "must specify a volume type"))


_SOURCE_SET = frozenset(_SOURCES)


def _validate_mode(errors: Errors, mode: int | None, path: str) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        errors.append(invalid(path, mode, _MODE_MESSAGE))


def _validate_key_to_path(errors: Errors, item: Mapping[str, Any], path: str) -> None:
    if not item.get("key"):
        errors.append(required(f"{path}.key"))
    target = item.get("path", "")
    if not target:
        errors.append(required(f"{path}.path"))
    validate_local_path(errors, target, f"{path}.path")
    _validate_mode(errors, item.get("mode"), f"{path}.mode")


def _validate_empty_dir(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and parse_quantity(limit) < Quantity(0):
        errors.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _validate_secret(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    _validate_named_files(errors, source, "secretName", path)


def _validate_config_map(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    _validate_named_files(errors, source, "name", path)


def _validate_named_files(errors: Errors, source: Mapping[str, Any], name_key: str, path: str) -> None:
    if not source.get(name_key):
        errors.append(required(f"{path}.{name_key}"))
    _validate_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("items") or ()):
        _validate_key_to_path(errors, item, f"{path}.items[{index}]")


def _validate_claim(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    if not source.get("claimName"):
        errors.append(required(f"{path}.claimName"))


def _validate_downward(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    _validate_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
    for item in source.get("items") or ():
        _validate_downward_file(errors, item, path)


def _validate_downward_file(errors: Errors, item: Mapping[str, Any], path: str) -> None:
    target = item.get("path", "")
    if not target:
        errors.append(required(f"{path}.path"))
    validate_local_path(errors, target, f"{path}.path")
    if item.get("fieldRef") is not None:
        validate_field_ref(errors, item["fieldRef"], VOLUME_FIELDS, f"{path}.fieldRef")
        if item.get("resourceFieldRef") is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid(path, "resource", detail))
    elif item.get("resourceFieldRef") is not None:
        validate_resource_ref(errors, item["resourceFieldRef"], f"{path}.resourceFieldRef", in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    _validate_mode(errors, item.get("mode"), f"{path}.mode")


def _validate_projected(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    _validate_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        kinds = [kind for kind, value in projection.items() if value is not None]
        for kind in ("secret", "configMap"):
            if kind in kinds:
                _validate_projected_files(errors, projection[kind], taken, f"{at}.{kind}", path)
        if "downwardAPI" in kinds:
            for item in projection["downwardAPI"].get("items") or ():
                _validate_downward_file(errors, item, f"{at}.downwardAPI")
                _take_path(errors, taken, item.get("path", ""), item.get("path", ""), path)
        if "serviceAccountToken" in kinds:
            _validate_token(errors, projection["serviceAccountToken"], f"{at}.serviceAccountToken", path)
        if "clusterTrustBundle" in kinds:
            bundle = projection["clusterTrustBundle"]
            _validate_trust_bundle(errors, bundle, f"{at}.clusterTrustBundle")
            _take_path(errors, taken, bundle.get("path", ""), bundle.get("path", ""), path)
        if len(kinds) > 1:
            errors.append(forbidden(at, "may not specify more than 1 volume type per source"))


def _validate_projected_files(
    errors: Errors, source: Mapping[str, Any], taken: set[str], path: str, volume_path: str
) -> None:
    if not source.get("name"):
        errors.append(required(f"{path}.name"))
    for index, item in enumerate(source.get("items") or ()):
        _validate_key_to_path(errors, item, f"{path}.items[{index}]")
        if item.get("path"):
            _take_path(errors, taken, item["path"], source.get("name", ""), volume_path)


def _take_path(errors: Errors, taken: set[str], target: str, shown: str, path: str) -> None:
    if target in taken:
        errors.append(invalid(path, shown, "conflicting duplicate paths"))
    elif target:
        taken.add(target)


def _validate_token(errors: Errors, token: Mapping[str, Any], path: str, volume_path: str) -> None:
    lifetime_s = token.get("expirationSeconds", 0)
    if lifetime_s < _SHORTEST_TOKEN_S:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(invalid(f"{path}.expirationSeconds", lifetime_s, detail))
    if lifetime_s > _LONGEST_TOKEN_S:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid(f"{path}.expirationSeconds", lifetime_s, detail))
    if not token.get("path"):
        errors.append(required(f"{volume_path}.path"))
    else:
        validate_local_path(errors, token["path"], f"{volume_path}.path")


def _validate_trust_bundle(errors: Errors, bundle: Mapping[str, Any], path: str) -> None:
    name, signer = bundle.get("name"), bundle.get("signerName")
    if name is not None and signer is not None:
        errors.append(invalid(path, bundle, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            errors.append(required(f"{path}.name", "must be a valid object name"))
        messages = dns_subdomain(name.rpartition(":")[2])
        add_each(errors, f"{path}.name", name, (f"not a valid clustertrustbundlename: {text}" for text in messages))
        if bundle.get("labelSelector") is not None:
            detail = "labelSelector must be unset if name is specified"
            errors.append(invalid(f"{path}.labelSelector", bundle["labelSelector"], detail))
    elif signer is not None:
        if not signer:
            errors.append(required(f"{path}.signerName", "must be a valid signer name"))
        validate_label_selector(errors, bundle.get("labelSelector"), f"{path}.labelSelector")
    else:
        errors.append(required(path, "either name or signerName must be specified"))
    if not bundle.get("path"):
        errors.append(required(f"{path}.path"))
    validate_local_path(errors, bundle.get("path", ""), f"{path}.path")


def _validate_ephemeral(errors: Errors, source: Mapping[str, Any], name: str, pod_name: str, path: str) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        errors.append(required(f"{path}.ephemeral.volumeClaimTemplate"))
    else:
        validate_claim_template(errors, template, f"{path}.ephemeral.volumeClaimTemplate")
    if pod_name and name:
        claim = f"{pod_name}-{name}"
        messages = (f'PVC name "{claim}": {text}' for text in dns_subdomain(claim))
        add_each(errors, f"{path}.name", name, messages)


def _validate_image(errors: Errors, source: Mapping[str, Any], path: str, *, is_pod: bool) -> None:
    if is_pod and not source.get("reference"):
        errors.append(required(f"{path}.reference"))
    check_one_of(errors, source.get("pullPolicy"), _PULL_POLICIES, f"{path}.pullPolicy")


_OWN_SOURCES = {
    "emptyDir": _validate_empty_dir,
    "secret": _validate_secret,
    "configMap": _validate_config_map,
    "persistentVolumeClaim": _validate_claim,
    "downwardAPI": _validate_downward,
    "projected": _validate_projected,
}
