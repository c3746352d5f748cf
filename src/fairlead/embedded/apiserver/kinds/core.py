"""The core group, v1: its rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.cluster_node import NodeStrategy
from fairlead.embedded.apiserver.kinds.config_map import ConfigMapStrategy
from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.endpoints import EndpointsStrategy
from fairlead.embedded.apiserver.kinds.limit_range import LimitRangeStrategy
from fairlead.embedded.apiserver.kinds.namespace import NamespaceStrategy
from fairlead.embedded.apiserver.kinds.persistent_volume import PersistentVolumeStrategy
from fairlead.embedded.apiserver.kinds.persistent_volume_claim import PersistentVolumeClaimStrategy
from fairlead.embedded.apiserver.kinds.pod import PodStrategy
from fairlead.embedded.apiserver.kinds.pod_template import PodTemplateStrategy
from fairlead.embedded.apiserver.kinds.replica_set import ReplicationControllerStrategy
from fairlead.embedded.apiserver.kinds.resource_quota import ResourceQuotaStrategy
from fairlead.embedded.apiserver.kinds.secret import SecretStrategy
from fairlead.embedded.apiserver.kinds.service import ServiceStrategy
from fairlead.embedded.apiserver.kinds.service_account import ServiceAccountStrategy
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import ResourceType, ScaleMapping

_NAMESPACE_VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


def types() -> list[ResourceType]:
    """The kinds of the core group, in the order of discovery."""
    return [*_cluster_types(), *_configuration_types(), *_network_types(), *_workload_types()]


def _cluster_types() -> list[ResourceType]:
    return [
        resource_type(
            "v1",
            "namespaces",
            "Namespace",
            namespaced=False,
            strategy=NamespaceStrategy(),
            short_names=("ns",),
            verbs=_NAMESPACE_VERBS,
            has_status=True,
            subresources=("finalize",),
            selectable_fields={"status.phase": at("status", "phase")},
            reset_fields=STATUS,
        ),
        resource_type(
            "v1",
            "nodes",
            "Node",
            namespaced=False,
            strategy=NodeStrategy(),
            short_names=("no",),
            has_status=True,
            subresources=("proxy",),
            selectable_fields={"spec.unschedulable": at("spec", "unschedulable", default="false")},
            reset_fields=STATUS,
        ),
        resource_type(
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            namespaced=False,
            strategy=PersistentVolumeStrategy(),
            keeps_empty=("spec", "capacity"),
            returns_deleted=True,
            short_names=("pv",),
            has_status=True,
            reset_fields=STATUS,
        ),
    ]


def _configuration_types() -> list[ResourceType]:
    return [
        resource_type(
            "v1",
            "configmaps",
            "ConfigMap",
            strategy=ConfigMapStrategy(),
            short_names=("cm",),
        ),
        resource_type(
            "v1",
            "secrets",
            "Secret",
            strategy=SecretStrategy(),
            selectable_fields={"type": at("type")},
        ),
        resource_type(
            "v1",
            "serviceaccounts",
            "ServiceAccount",
            strategy=ServiceAccountStrategy(),
            returns_deleted=True,
            short_names=("sa",),
            subresources=("token",),
        ),
        resource_type(
            "v1",
            "limitranges",
            "LimitRange",
            strategy=LimitRangeStrategy(),
            short_names=("limits",),
        ),
        resource_type(
            "v1",
            "resourcequotas",
            "ResourceQuota",
            strategy=ResourceQuotaStrategy(),
            returns_deleted=True,
            short_names=("quota",),
            has_status=True,
            reset_fields=STATUS,
        ),
        resource_type(
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            strategy=PersistentVolumeClaimStrategy(),
            returns_deleted=True,
            short_names=("pvc",),
            has_status=True,
            reset_fields=STATUS,
        ),
    ]


def _network_types() -> list[ResourceType]:
    return [
        resource_type(
            "v1",
            "services",
            "Service",
            strategy=ServiceStrategy(),
            returns_deleted=True,
            short_names=("svc",),
            categories=("all",),
            has_status=True,
            subresources=("proxy",),
            selectable_fields={"spec.clusterIP": at("spec", "clusterIP"), "spec.type": at("spec", "type")},
            reset_fields=STATUS,
        ),
        resource_type(
            "v1",
            "endpoints",
            "Endpoints",
            strategy=EndpointsStrategy(),
            short_names=("ep",),
            allow_create_on_update=True,
            deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
    ]


def _workload_types() -> list[ResourceType]:
    return [
        resource_type("v1", "bindings", "Binding", strategy=ObjectStrategy(), verbs=("create",)),
        resource_type(
            "v1",
            "pods",
            "Pod",
            strategy=PodStrategy(),
            returns_deleted=True,
            short_names=("po",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            subresources=(
                "attach",
                "binding",
                "ephemeralcontainers",
                "eviction",
                "exec",
                "log",
                "portforward",
                "proxy",
                "resize",
            ),
            selectable_fields={
                "spec.nodeName": at("spec", "nodeName"),
                "spec.restartPolicy": at("spec", "restartPolicy"),
                "spec.schedulerName": at("spec", "schedulerName"),
                "spec.serviceAccountName": at("spec", "serviceAccountName"),
                "spec.hostNetwork": at("spec", "hostNetwork", default="false"),
                "status.phase": at("status", "phase"),
                "status.podIP": at("status", "podIP"),
                "status.nominatedNodeName": at("status", "nominatedNodeName"),
            },
            reset_fields=STATUS,
        ),
        resource_type(
            "v1",
            "podtemplates",
            "PodTemplate",
            strategy=PodTemplateStrategy(),
            returns_deleted=True,
            has_generation=True,
        ),
        resource_type(
            "v1",
            "replicationcontrollers",
            "ReplicationController",
            strategy=ReplicationControllerStrategy(),
            short_names=("rc",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            scale=ScaleMapping(".spec.replicas", ".status.replicas", ".spec.selector"),
            selectable_fields={"status.replicas": at("status", "replicas", default="0")},
            reset_fields=STATUS,
        ),
    ]
