"""The built-in kinds: a row for each served resource, and the strategy that makes its kind behave as upstream's does.

A module per API group lists the rows (`types()`); a module per kind holds its defaults, validation and admission.
"""

from __future__ import annotations

from importlib import import_module

from fairlead.embedded.apiserver.registry import ResourceType

_GROUPS = (
    "core",
    "apps",
    "events",
    "autoscaling",
    "batch",
    "certificates",
    "networking",
    "policy",
    "rbac",
    "storage",
    "admission",
    "crd",
    "scheduling",
    "coordination",
    "node",
    "discovery",
    "dra",
    "flowcontrol",
    "authorization",
    "authentication",
)
"""Modules of rows, in the order in which discovery lists their groups."""


def builtin_types() -> list[ResourceType]:
    """Every built-in resource type, in the order of discovery."""
    rows: list[ResourceType] = []
    for name in _GROUPS:
        try:
            module = import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            continue
        rows += module.types()
    return rows


__all__ = ["builtin_types"]
