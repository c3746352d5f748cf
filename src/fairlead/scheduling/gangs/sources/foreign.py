"""Reading other schedulers' objects, which are plain JSON here and may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.kube.resources import Resource
from fairlead.scheduling.gangs.sources.reference import GangContext, GangRef, Json, UnreadableError, bad_value


def pod_group(resource: Resource[Any], ref: GangRef, context: GangContext) -> Json:
    """The object that describes a gang. Raises UnreadableError where there is none."""
    found = context.object(resource, ref.namespace, ref.name)
    if found is None:
        raise UnreadableError(
            f"waits for PodGroup {ref.namespace}/{ref.name} ({resource.api_version}), "
            "which its pods name and which does not exist"
        )
    return found


def spec_of(obj: Json) -> Json:
    return mapping(obj, "spec")


def labels_of(obj: Json) -> Json:
    return mapping(mapping(obj, "metadata"), "labels")


def mapping(obj: Json, field: str) -> Json:
    """The object in a field; an empty one where it is absent or something else."""
    value = obj.get(field)
    return value if isinstance(value, Mapping) else {}


def items(obj: Json, field: str) -> Sequence[Json]:
    """The objects in a list; none where it is absent or something else."""
    value = obj.get(field)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, Sequence) else []


def text(obj: Json, field: str) -> str:
    value = obj.get(field)
    return value if isinstance(value, str) else ""


def stated_count(obj: Json, field: str, owner: str) -> int | None:
    """The number in a field; None where there is none. Raises UnreadableError for something else."""
    value = obj.get(field)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise bad_value(field, owner, value, "write a whole number of at least 0")


def class_priority(spec: Json, context: GangContext) -> int | None:
    """The value of the priority class that a group names; None where it names none that is known."""
    name = text(spec, "priorityClassName")
    return context.priority(name) if name else None
