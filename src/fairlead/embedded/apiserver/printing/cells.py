"""What columns of many kinds have in common: the name and age columns, and how lists and selectors are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.printing.duration import age
from fairlead.embedded.apiserver.registry import Column, Object

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"

# Clients compare these two, which every table carries, with a cluster's.
NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
AGE_DESCRIPTION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


def name_of(obj: Object, now: float) -> Any:
    return obj.get("metadata", {}).get("name", "")


def age_of(obj: Object, now: float) -> str:
    return age(obj.get("metadata", {}).get("creationTimestamp"), now)


NAME = Column("Name", "string", NAME_DESCRIPTION, name_of, format="name")
AGE = Column("Age", "string", AGE_DESCRIPTION, age_of)
CREATED_AT = Column(
    "Created At",
    "date",
    AGE_DESCRIPTION,
    lambda obj, now: obj.get("metadata", {}).get("creationTimestamp"),
)


def get(obj: Any, *path: str, default: Any = None) -> Any:
    """The value at a path of keys, or the default where a step is missing or null."""
    for key in path:
        if not isinstance(obj, Mapping):
            return default
        obj = obj.get(key)
    return default if obj is None else obj


def text(
    name: str, description: str, *path: str, default: Any = "", priority: int = 0, type_: str = "string"
) -> Column:
    """A column that shows one field as it is."""
    return Column(name, type_, description, lambda obj, now: get(obj, *path, default=default), priority=priority)


def number(name: str, description: str, *path: str, priority: int = 0) -> Column:
    """A column that shows one integer field, 0 where it is absent."""
    return text(name, description, *path, default=0, priority=priority, type_="integer")


def computed(
    name: str, description: str, cell: Callable[[Object], Any], *, priority: int = 0, type_: str = "string"
) -> Column:
    """A column whose cell is made from the object alone."""
    return Column(name, type_, description, lambda obj, now: cell(obj), priority=priority)


def joined(values: Iterable[str], separator: str = ",") -> str:
    """Values in one cell, `<none>` for no values."""
    return separator.join(values) or NONE


def shortened(values: Sequence[str], limit: int) -> str:
    """The first `limit` values and how many more there are."""
    if not values:
        return NONE
    shown = ",".join(values[:limit])
    more = len(values) - limit
    return f"{shown} + {more} more..." if more > 0 else shown


def labels(value: Mapping[str, str] | None) -> str:
    """A map of labels as `key=value,…`, sorted."""
    return joined(f"{key}={value[key]}" for key in sorted(value)) if value else NONE


_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector(value: Mapping[str, Any] | None) -> str:
    """A LabelSelector in the syntax of the command line."""
    if value is None:
        return NONE
    terms = [(key, f"{key}={wanted}") for key, wanted in (value.get("matchLabels") or {}).items()]
    for requirement in value.get("matchExpressions") or ():
        key, operator = requirement.get("key", ""), requirement.get("operator", "")
        if operator in _OPERATORS:
            listed = ",".join(sorted(requirement.get("values") or ()))
            terms.append((key, f"{key} {_OPERATORS[operator]} ({listed})"))
        else:
            terms.append((key, f"!{key}" if operator == "DoesNotExist" else key))
    return joined(term for _, term in sorted(terms, key=lambda term: term[0]))


def containers(path: Sequence[str]) -> tuple[Column, Column]:
    """The wide columns of a kind with a pod template: names and images of its containers."""
    where = (*path, "containers")
    return (
        computed(
            "Containers",
            "Names of the template's containers.",
            lambda obj: ",".join(container.get("name", "") for container in get(obj, *where, default=())),
            priority=1,
        ),
        computed(
            "Images",
            "Images of the template's containers.",
            lambda obj: ",".join(container.get("image", "") for container in get(obj, *where, default=())),
            priority=1,
        ),
    )
