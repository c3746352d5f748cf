"""How a built-in kind's row is written down: `resource_type` fills in the schema of the kind's definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.embedded.apiserver.registry import Object, ResourceType, Strategy
from fairlead.embedded.apiserver.schema.builtin import schema_for

READ_WRITE = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS = (("status",),)


def resource_type(
    api_version: str,
    resource: str,
    kind: str,
    *,
    strategy: Strategy,
    namespaced: bool = True,
    keeps_empty: tuple[str, ...] = (),
    **options: Any,
) -> ResourceType:
    """The row of a built-in kind; `options` are further fields of `ResourceType`. `keeps_empty` is the path of an
    optional list or map that a request may give empty, because the kind tells that from absence."""
    group, _, version = api_version.rpartition("/")
    schema = schema_for(group, version, kind)
    if keeps_empty:
        *parents, name = keeps_empty
        holder = schema
        for parent in parents:
            holder = holder.properties[parent]
        assert holder.go is not None
        holder.go.kept |= {name}
    return ResourceType(
        group=group,
        version=version,
        resource=resource,
        kind=kind,
        namespaced=namespaced,
        schema=schema,
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
