"""The group authorization.k8s.io, v1: reviews that answer whether somebody may do something. Nothing is stored."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import ResourceType

_GROUP_VERSION = "authorization.k8s.io/v1"


def types() -> list[ResourceType]:
    rows = (
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
    )
    return [
        resource_type(
            _GROUP_VERSION, resource, kind, namespaced=namespaced, strategy=ObjectStrategy(), verbs=("create",)
        )
        for resource, kind, namespaced in rows
    ]
