"""Objects as a `meta.k8s.io/v1` Table, the form in which kubectl asks for what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.printing.columns import columns_for, row_conditions
from fairlead.embedded.apiserver.registry import Column, Object, ResourceType

META_V1 = "meta.k8s.io/v1"


def table(
    type: ResourceType,
    objects: Sequence[Object],
    *,
    now: float,
    include_object: str,
    list_metadata: dict[str, Any],
) -> dict[str, Any]:
    """The Table of some objects of one type.

    `now` is wall time in seconds, for ages. `include_object` says what each row carries of its object: "Metadata" (a
    PartialObjectMetadata), "Object" (all of it) or "None".
    """
    columns = type.columns or columns_for(type.group, type.kind)
    conditions = row_conditions(type.group, type.kind)
    rows = []
    for obj in objects:
        row: dict[str, Any] = {"cells": [column.cell(obj, now) for column in columns]}
        if conditions is not None and (found := conditions(obj)):
            row["conditions"] = found
        row["object"] = _carried(obj, include_object)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": META_V1,
        "metadata": list_metadata,
        "columnDefinitions": [definition(column) for column in columns],
        "rows": rows,
    }


def definition(column: Column) -> dict[str, Any]:
    """A column as the Table describes it."""
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _carried(obj: Object, include_object: str) -> Object | None:
    if include_object == "None":
        return None
    if include_object == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": META_V1, "metadata": obj["metadata"]}
