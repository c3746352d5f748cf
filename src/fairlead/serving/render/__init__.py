"""What a resolved service becomes: pods, claims, pools, routes, budgets. Pure; JSON for the API server."""

from fairlead.serving.render.former import (
    HASH_LABEL,
    SERVICE_LABEL,
    pod_template,
    pool,
    replica_pod,
    template_hash,
)
from fairlead.serving.render.labels import owner_reference
from fairlead.serving.render.network import headless_name, headless_service
from fairlead.serving.render.pods import LWS_SIZE, member_pod, replica_pods
from fairlead.serving.render.pools import pool_name, pools

__all__ = [
    "HASH_LABEL",
    "LWS_SIZE",
    "SERVICE_LABEL",
    "headless_name",
    "headless_service",
    "member_pod",
    "owner_reference",
    "pod_template",
    "pool",
    "pool_name",
    "pools",
    "replica_pod",
    "replica_pods",
    "template_hash",
]
