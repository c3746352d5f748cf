"""Discovery: which groups, versions and resources are served, as clients and kubectl ask for it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.registry import ResourceType

_GET_PATCH_UPDATE = ["get", "patch", "update"]
# (resource, subresource) -> kind, group, version, verbs; a missing group is the resource's own
_SUBRESOURCES: dict[tuple[str, str], tuple[str, str, str, list[str]]] = {
    ("pods", "attach"): ("PodAttachOptions", "", "", ["create", "get"]),
    ("pods", "binding"): ("Binding", "", "", ["create"]),
    ("pods", "eviction"): ("Eviction", "policy", "v1", ["create"]),
    ("pods", "exec"): ("PodExecOptions", "", "", ["create", "get"]),
    ("pods", "log"): ("Pod", "", "", ["get"]),
    ("pods", "portforward"): ("PodPortForwardOptions", "", "", ["create", "get"]),
    ("pods", "proxy"): ("PodProxyOptions", "", "", ["create", "delete", "get", "patch", "update"]),
    ("nodes", "proxy"): ("NodeProxyOptions", "", "", ["create", "delete", "get", "patch", "update"]),
    ("services", "proxy"): ("ServiceProxyOptions", "", "", ["create", "delete", "get", "patch", "update"]),
    ("serviceaccounts", "token"): ("TokenRequest", "authentication.k8s.io", "v1", ["create"]),
    ("namespaces", "finalize"): ("Namespace", "", "", ["update"]),
    ("certificatesigningrequests", "approval"): ("CertificateSigningRequest", "", "", _GET_PATCH_UPDATE),
}


def core_versions(host: str) -> dict[str, Any]:
    """`/api`, legacy form."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    }


def group_list(catalog: Catalog) -> dict[str, Any]:
    """`/apis`, legacy form."""
    groups = [_group(catalog, group) for group in catalog.groups()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group_document(catalog: Catalog, group: str) -> dict[str, Any]:
    """`/apis/{group}`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(catalog, group)}


def _group(catalog: Catalog, group: str) -> dict[str, Any]:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in catalog.versions(group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def resource_list(catalog: Catalog, group: str, version: str) -> dict[str, Any]:
    """`/api/v1` or `/apis/{group}/{version}`, legacy form."""
    types = catalog.types(group, version)
    resources = [entry for type_ in types for entry in _resources(type_)]
    if not any(type_.is_custom for type_ in types):
        resources.sort(key=lambda entry: str(entry["name"]))
    document: dict[str, Any] = {"kind": "APIResourceList"}
    if group:
        document["apiVersion"] = "v1"
    document["groupVersion"] = f"{group}/{version}" if group else version
    document["resources"] = resources
    return document


def _resources(type_: ResourceType) -> Iterable[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": type_.resource,
        "singularName": type_.singular,
        "namespaced": type_.namespaced,
        "kind": type_.kind,
        "verbs": _verbs(type_),
    }
    if type_.short_names:
        entry["shortNames"] = list(type_.short_names)
    if type_.categories:
        entry["categories"] = list(type_.categories)
    if "list" in type_.verbs:
        entry["storageVersionHash"] = _storage_hash(type_)
    yield entry
    for name, kind, group, version, verbs in subresources(type_):
        below: dict[str, Any] = {
            "name": f"{type_.resource}/{name}",
            "singularName": "",
            "namespaced": type_.namespaced,
            "kind": kind,
            "verbs": verbs,
        }
        if group:
            below["group"], below["version"] = group, version
        yield below


def _verbs(type_: ResourceType) -> list[str]:
    """What can be done with a resource; little while its definition is being deleted."""
    if type_.is_terminating:
        return ["delete", "deletecollection", "get", "list", "watch"]
    return list(type_.verbs)


def subresources(type_: ResourceType) -> Iterable[tuple[str, str, str, str, list[str]]]:
    """Name, kind, group and version (empty where they are the resource's own) and verbs of each subresource."""
    if type_.has_status:
        yield "status", type_.kind, "", "", _GET_PATCH_UPDATE
    if type_.scale is not None:
        yield "scale", "Scale", "autoscaling", "v1", _GET_PATCH_UPDATE
    for name in type_.subresources:
        default = (type_.kind, "", "", _GET_PATCH_UPDATE)
        yield (name, *_SUBRESOURCES.get((type_.resource, name), default))


def _storage_hash(type_: ResourceType) -> str:
    digest = hashlib.sha256(f"{type_.group}/{type_.storage_version}/{type_.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def aggregated(catalog: Catalog, groups: Iterable[str]) -> dict[str, Any]:
    """`/api` or `/apis` in the aggregated form, `apidiscovery.k8s.io/v2`."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [_aggregated_group(catalog, group) for group in groups],
    }


def _aggregated_group(catalog: Catalog, group: str) -> dict[str, Any]:
    versions = [
        {
            "version": version,
            "resources": [_aggregated_resource(type_) for type_ in _sorted(catalog, group, version)],
            "freshness": "Current",
        }
        for version in catalog.versions(group)
    ]
    metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
    return {"metadata": metadata, "versions": versions}


def _sorted(catalog: Catalog, group: str, version: str) -> list[ResourceType]:
    return sorted(catalog.types(group, version), key=lambda type_: type_.resource)


def _aggregated_resource(type_: ResourceType) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": type_.resource,
        "responseKind": {"group": type_.group, "version": type_.version, "kind": type_.kind},
        "scope": "Namespaced" if type_.namespaced else "Cluster",
        "singularResource": type_.singular,
        "verbs": _verbs(type_),
    }
    if type_.short_names:
        entry["shortNames"] = list(type_.short_names)
    if type_.categories:
        entry["categories"] = list(type_.categories)
    below = [
        {
            "subresource": name,
            "responseKind": {"group": group or type_.group, "version": version or type_.version, "kind": kind},
            "verbs": verbs,
        }
        for name, kind, group, version, verbs in subresources(type_)
    ]
    if below:
        entry["subresources"] = sorted(below, key=lambda each: str(each["subresource"]))
    return entry


def root_paths(catalog: Catalog) -> dict[str, Any]:
    """`/`: where everything is."""
    paths = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"]
    for group in catalog.groups():
        paths.append(f"/apis/{group}")
        paths += [f"/apis/{group}/{version}" for version in catalog.versions(group)]
    paths += ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/readyz", "/version"]
    return {"paths": sorted(paths)}
