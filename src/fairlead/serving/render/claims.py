"""The ResourceClaimTemplates of a service's pods. Pure."""

from __future__ import annotations

from typing import Any

from fairlead.api.model_service import ModelService
from fairlead.serving.render.labels import owned
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]


def claim_templates(service: ModelService, *versions: Resolved) -> list[Json]:
    """One for each role and alternative of these versions. Their names tell their content, so that versions with equal
    claims share one; whoever still makes pods of a former version gives it here, too."""
    found = {
        way.claim.name: way.claim.spec
        for version in versions
        for role in version.roles.values()
        for way in role.ways
        if way.claim is not None
    }
    return [
        owned(service, "resource.k8s.io/v1", "ResourceClaimTemplate", name, spec={"spec": spec})
        for name, spec in sorted(found.items())
    ]
