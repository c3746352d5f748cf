"""The objects that a service has beside its pods, all of them, as they are to be now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.api.model_service import ModelService, RoleName
from fairlead.api.role_scale import ROLE_SCALES
from fairlead.api.traffic_report import REPORT_ANNOTATION
from fairlead.kube.kinds import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, RESOURCE_CLAIM_TEMPLATES, SERVICES
from fairlead.kube.resources import Resource
from fairlead.serving.course import Course
from fairlead.serving.render import headless_service, owner_reference, pools
from fairlead.serving.render.budgets import disruption_budgets
from fairlead.serving.render.claims import claim_templates
from fairlead.serving.render.foreign import foreign_workloads
from fairlead.serving.render.routes import objectives, rewrite
from fairlead.serving.resolved import Resolved
from fairlead.serving.scales import wanted_scales

Json = dict[str, Any]

REWRITES = Resource.of("llm-d.ai/v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite")
LEADER_WORKER_SETS = Resource.of("leaderworkerset.x-k8s.io/v1", "leaderworkersets", "LeaderWorkerSet")
OBJECTIVES = Resource.of("llm-d.ai/v1alpha2", "inferenceobjectives", "InferenceObjective")

KINDS: Sequence[Resource[Any]] = (
    INFERENCE_POOLS, REWRITES, OBJECTIVES, SERVICES, POD_DISRUPTION_BUDGETS, RESOURCE_CLAIM_TEMPLATES, ROLE_SCALES,
    DEPLOYMENTS, LEADER_WORKER_SETS,
)  # fmt: skip
"""Of which a service's objects are kept; of these kinds it owns nothing else."""


def belongings(
    service: ModelService,
    course: Course,
    known: Mapping[str, Resolved],
    counts: Mapping[RoleName, int],
    *,
    adapters: Sequence[str] = (),
    picker: str = "fairlead-gateway",
) -> list[Json]:
    """To be applied, all else of these kinds to be deleted. Empty where nothing is known of how pods are made."""
    wanted = known.get(course.wanted)
    stable = known.get(course.stable) or wanted
    if stable is None:
        return []
    canary = wanted if course.has_trial and wanted is not None else None
    annotations = {REPORT_ANNOTATION: course.asked} if course.asked else {}
    versions = [v for v in (wanted, stable) if v is not None]
    made = [
        *pools(service, stable, canary, adapters=adapters, annotations=annotations, picker=picker),
        rewrite(service, stable, canary.shadow if canary is not None else "", course.weight),
        *objectives(service),
        next((s for v in versions if (s := headless_service(service, v)) is not None), None),
        *disruption_budgets(service, stable),
        *claim_templates(service, *{v.revision: v for v in [*known.values(), *versions]}.values()),
        *wanted_scales(service, counts, owner_reference(service)),
        *foreign_workloads(service, wanted or stable, counts),
    ]
    return [each for each in made if each is not None]
