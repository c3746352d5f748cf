"""PriorityClass: what a priority is called, and which one pods have that name none."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, not_supported
from fairlead.embedded.apiserver.kinds.errors import Errors, check_immutable
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.errors import Forbidden

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}

_SYSTEM_PREFIX = "system-"
_POLICIES = ("PreemptLowerPriority", "Never")


class PriorityClassStrategy(ClusterStrategy):
    """PriorityClass: its value and policy are for good."""

    def default(self, obj: Object) -> None:
        obj["preemptionPolicy"] = obj.get("preemptionPolicy") or "PreemptLowerPriority"

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        name = obj["metadata"].get("name", "")
        default = default_class(context) if obj.get("globalDefault") else None
        if default is not None and (old is None or default["metadata"]["name"] != name):
            reason = (
                f"PriorityClass {default['metadata']['name']} is already marked as default. Only one default can exist"
            )
            message = f'priorityclasses.scheduling.k8s.io "{name}" is forbidden: {reason}'
            raise Forbidden(message, name=name, kind="priorityclasses", group="scheduling.k8s.io")

    def generation_changed(self, new: Object, old: Object) -> bool:
        return False

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
        if name.startswith(_SYSTEM_PREFIX):
            problem = _system_problem(name, value, bool(obj.get("globalDefault")))
            if problem:
                detail = "priority class names with 'system-' prefix are reserved for system use only. error: "
                errors.append(forbidden("metadata.name", detail + problem))
        elif value > HIGHEST_USER_PRIORITY:
            detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
            errors.append(forbidden("value", detail))
        if obj["preemptionPolicy"] not in _POLICIES:
            errors.append(not_supported("preemptionPolicy", obj["preemptionPolicy"], _POLICIES))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        if new.get("value", 0) != old.get("value", 0):
            errors.append(forbidden("value", "may not be changed in an update."))
        check_immutable(errors, new.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")
        return errors


def default_class(context: RequestContext) -> Object | None:
    """The class of pods that name none: of those marked so, the one with the lowest value."""
    marked = [
        found for found in context.lookup_all("scheduling.k8s.io", "priorityclasses") if found.get("globalDefault")
    ]
    return min(marked, key=lambda found: found.get("value", 0), default=None)


def _system_problem(name: str, value: int, is_default: bool) -> str:
    wanted = SYSTEM_PRIORITIES.get(name)
    if wanted is None:
        return f"{name} is not a known system priority class"
    if value != wanted:
        return f"value of {name} PriorityClass must be {wanted}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""
