"""How a built-in kind's row is written down: `resource_type` fills in the schema of the kind's definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.embedded.apiserver.registry import Object, ResourceType, Strategy
from fairlead.embedded.apiserver.schema.builtin import schema_for

READ_WRITE = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS = (("status",),)


def resource_type(
    api_version: str, resource: str, kind: str, *, strategy: Strategy, namespaced: bool = True, **options: Any
) -> ResourceType:
    """The row of a built-in kind; `options` are further fields of `ResourceType`."""
    group, _, version = api_version.rpartition("/")
    return ResourceType(
        group=group,
        version=version,
        resource=resource,
        kind=kind,
        namespaced=namespaced,
        schema=schema_for(group, version, kind),
        strategy=strategy,
        **options,
    )


def at(*path: str, default: str = "") -> Callable[[Object], str]:
    """A reader of one field for field selectors: strings as they are, booleans and numbers as Go prints them."""

    def read(obj: Object) -> str:
        value: Any = obj
        for key in path:
            if not isinstance(value, Mapping):
                return default
            value = value.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return read
