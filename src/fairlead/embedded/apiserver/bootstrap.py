"""The objects that every cluster has from its first second: system namespaces, system priority classes, and the
`kubernetes` service."""

from __future__ import annotations

import logging

from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.registry import Object, Strategy
from fairlead.kube.errors import AlreadyExists, ApiError

MANAGER = "kube-apiserver"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_log = logging.getLogger(__name__)


def restore_strategies(objects: Objects) -> None:
    """Let each kind remember what it has to know of its stored objects."""
    for type_ in objects.catalog.all():
        if type(type_.strategy).restore is not Strategy.restore:
            records = objects.store.snapshot(type_.storage_prefix).records
            type_.strategy.restore(objects.read(type_, record) for record in records)


async def create_system_objects(objects: Objects, port: int) -> None:
    """Create what is missing. Objects that exist are left as they are."""
    for name in NAMESPACES:
        await _ensure(objects, "", "v1", "namespaces", "", {"metadata": {"name": name}})
    for name, value, description in (
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node "
            "if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ):
        priority = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(objects, "scheduling.k8s.io", "v1", "priorityclasses", "", priority)
    await _ensure(objects, "", "v1", "services", "default", _kubernetes_service(port))


def _kubernetes_service(port: int) -> Object:
    return {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "type": "ClusterIP",
            "sessionAffinity": "None",
        },
    }


async def _ensure(objects: Objects, group: str, version: str, resource: str, namespace: str, obj: Object) -> None:
    type_ = objects.catalog.find(group, version, resource)
    if type_ is None:
        return
    key = objects.key(type_, namespace, obj["metadata"]["name"])
    if objects.store.newest(type_.storage_prefix, key) is not None:
        return
    obj = {"kind": type_.kind, "apiVersion": type_.api_version, **obj}
    try:
        decode(obj, type_)
        await objects.create(Write(type_, namespace, manager=MANAGER), obj)
    except AlreadyExists:
        return
    except ApiError as error:
        _log.warning("the system object %s %s is not created: %s", type_.kind, obj["metadata"]["name"], error.message)
