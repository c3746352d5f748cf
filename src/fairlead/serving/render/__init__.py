"""What a resolved service becomes: pods, claims, pools, routes, budgets. Pure; JSON for the API server."""

from fairlead.serving.render.budgets import disruption_budgets
from fairlead.serving.render.claims import claim_templates
from fairlead.serving.render.foreign import foreign_workloads, workload_name
from fairlead.serving.render.labels import owner_reference
from fairlead.serving.render.network import headless_name, headless_service
from fairlead.serving.render.pods import LWS_SIZE, member_pod, replica_pods
from fairlead.serving.render.pools import pool_name, pools
from fairlead.serving.render.routes import objectives, rewrite, route_patch, routes_to
from fairlead.serving.render.warm_up import WARMED_UP, wants_warm_up, warm_up_calls, warmed_up

__all__ = [
    "LWS_SIZE",
    "WARMED_UP",
    "claim_templates",
    "disruption_budgets",
    "foreign_workloads",
    "headless_name",
    "headless_service",
    "member_pod",
    "objectives",
    "owner_reference",
    "pool_name",
    "pools",
    "replica_pods",
    "rewrite",
    "route_patch",
    "routes_to",
    "wants_warm_up",
    "warm_up_calls",
    "warmed_up",
    "workload_name",
]
