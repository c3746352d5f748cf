"""The group authentication.k8s.io, v1: reviews of tokens and of oneself. Nothing is stored."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import ResourceType

_GROUP_VERSION = "authentication.k8s.io/v1"


def types() -> list[ResourceType]:
    rows = (("selfsubjectreviews", "SelfSubjectReview"), ("tokenreviews", "TokenReview"))
    return [
        resource_type(_GROUP_VERSION, resource, kind, namespaced=False, strategy=ObjectStrategy(), verbs=("create",))
        for resource, kind in rows
    ]
