"""The resources of the kinds in `fairlead.kube.objects`, as constants: `PODS`, `NODES`, `DEPLOYMENTS` …"""

from __future__ import annotations

from typing import Any, Final

from fairlead.kube import objects as o
from fairlead.kube.resources import Resource

PODS: Final = Resource.of("v1", "pods", "Pod", o.Pod)
NODES: Final = Resource.of("v1", "nodes", "Node", o.Node, namespaced=False)
SERVICES: Final = Resource.of("v1", "services", "Service", o.Service)
ENDPOINTS: Final = Resource.of("v1", "endpoints", "Endpoints", o.Endpoints)
CONFIG_MAPS: Final = Resource.of("v1", "configmaps", "ConfigMap", o.ConfigMap)
SECRETS: Final = Resource.of("v1", "secrets", "Secret", o.Secret)
EVENTS: Final = Resource.of("v1", "events", "Event", o.Event)
NAMESPACES: Final = Resource.of("v1", "namespaces", "Namespace", o.Namespace, namespaced=False)
SERVICE_ACCOUNTS: Final = Resource.of("v1", "serviceaccounts", "ServiceAccount", o.ServiceAccount)
PERSISTENT_VOLUME_CLAIMS: Final = Resource.of(
    "v1", "persistentvolumeclaims", "PersistentVolumeClaim", o.PersistentVolumeClaim
)
PERSISTENT_VOLUMES: Final = Resource.of(
    "v1", "persistentvolumes", "PersistentVolume", o.PersistentVolume, namespaced=False
)
STORAGE_CLASSES: Final = Resource.of(
    "storage.k8s.io/v1", "storageclasses", "StorageClass", o.StorageClass, namespaced=False
)
ENDPOINT_SLICES: Final = Resource.of("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", o.EndpointSlice)
DEPLOYMENTS: Final = Resource.of("apps/v1", "deployments", "Deployment", o.Deployment)
REPLICA_SETS: Final = Resource.of("apps/v1", "replicasets", "ReplicaSet", o.ReplicaSet)
STATEFUL_SETS: Final = Resource.of("apps/v1", "statefulsets", "StatefulSet", o.StatefulSet)
DAEMON_SETS: Final = Resource.of("apps/v1", "daemonsets", "DaemonSet", o.DaemonSet)
CONTROLLER_REVISIONS: Final = Resource.of("apps/v1", "controllerrevisions", "ControllerRevision", o.ControllerRevision)
JOBS: Final = Resource.of("batch/v1", "jobs", "Job", o.Job)
LEASES: Final = Resource.of("coordination.k8s.io/v1", "leases", "Lease", o.Lease)
POD_DISRUPTION_BUDGETS: Final = Resource.of(
    "policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", o.PodDisruptionBudget
)
PRIORITY_CLASSES: Final = Resource.of(
    "scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", o.PriorityClass, namespaced=False
)
POD_GROUP_VERSIONS: Final = tuple(
    Resource.of(f"scheduling.k8s.io/{version}", "podgroups", "PodGroup", o.PodGroup)
    for version in ("v1beta1", "v1alpha3", "v1alpha2")
)
"""The best first: which of them an API server has, if any, is for discovery to say. All decode to the same struct."""
WORKLOAD_VERSIONS: Final = tuple(
    Resource.of(f"scheduling.k8s.io/{version}", "workloads", "Workload", o.Workload)
    for version in ("v1beta1", "v1alpha3", "v1alpha2")
)
COMPOSITE_POD_GROUPS: Final = Resource.of(
    "scheduling.k8s.io/v1alpha3", "compositepodgroups", "CompositePodGroup", o.CompositePodGroup
)
HORIZONTAL_POD_AUTOSCALERS: Final = Resource.of(
    "autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", o.HorizontalPodAutoscaler
)
RESOURCE_CLAIMS: Final = Resource.of("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", o.ResourceClaim)
RESOURCE_CLAIM_TEMPLATES: Final = Resource.of(
    "resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", o.ResourceClaimTemplate
)
RESOURCE_SLICES: Final = Resource.of(
    "resource.k8s.io/v1", "resourceslices", "ResourceSlice", o.ResourceSlice, namespaced=False
)
DEVICE_CLASSES: Final = Resource.of(
    "resource.k8s.io/v1", "deviceclasses", "DeviceClass", o.DeviceClass, namespaced=False
)
DEVICE_TAINT_RULES: Final = Resource.of(
    "resource.k8s.io/v1beta2", "devicetaintrules", "DeviceTaintRule", o.DeviceTaintRule, namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS: Final = Resource.of(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

ALL: Final[tuple[Resource[Any], ...]] = (
    PODS,
    NODES,
    SERVICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    EVENTS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    ENDPOINT_SLICES,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    DAEMON_SETS,
    CONTROLLER_REVISIONS,
    JOBS,
    LEASES,
    POD_DISRUPTION_BUDGETS,
    PRIORITY_CLASSES,
    COMPOSITE_POD_GROUPS,
    HORIZONTAL_POD_AUTOSCALERS,
    RESOURCE_CLAIMS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_SLICES,
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    CUSTOM_RESOURCE_DEFINITIONS,
)
