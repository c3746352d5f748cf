"""The group node.k8s.io, v1: RuntimeClass."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.errors import NOT_NEGATIVE, Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.metadata import validate_labels
from fairlead.embedded.apiserver.kinds.names import dns_label
from fairlead.embedded.apiserver.kinds.pod_scheduling import validate_tolerations
from fairlead.embedded.apiserver.kinds.resources import container_resource_name
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType
from fairlead.kube.quantity import parse_quantity


class RuntimeClassStrategy(ClusterStrategy):
    """RuntimeClass: its handler is for good."""

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        handler = obj.get("handler", "")
        if handler:
            add_each(errors, "handler", handler, dns_label(handler))
        else:
            errors.append(required("handler"))
        # Overhead is checked as if it were limits, and says so.
        for name, amount in sorted(((obj.get("overhead") or {}).get("podFixed") or {}).items()):
            path = f"overhead.limits[{name}]"
            add_each(errors, path, name, container_resource_name(name))
            if parse_quantity(amount).amount < 0:
                errors.append(invalid(path, amount, NOT_NEGATIVE))
        scheduling = obj.get("scheduling") or {}
        errors += validate_labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
        validate_tolerations(errors, scheduling.get("tolerations") or (), "scheduling.tolerations")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        check_immutable(errors, new.get("handler", ""), old.get("handler", ""), "handler")
        return errors


def types() -> list[ResourceType]:
    """The kinds of node.k8s.io/v1."""
    return [
        resource_type(
            "node.k8s.io/v1",
            "runtimeclasses",
            "RuntimeClass",
            namespaced=False,
            strategy=RuntimeClassStrategy(),
            allow_create_on_update=True,
            allow_unconditional_update=False,
        ),
    ]
