"""Field sets under schemas that changed since they were written, and across the versions of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.ownership.check import describe_misfits, misfits
from fairlead.embedded.apiserver.ownership.entries import Managers
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet, Tree
from fairlead.embedded.apiserver.ownership.path_element import MEMBER
from fairlead.embedded.apiserver.ownership.typed import child_schema
from fairlead.embedded.apiserver.schema.node import Schema

Versions = Mapping[str, Schema]
"""API version -> schema, for every served version of a kind."""


def reconcile(managers: Managers, schema: Schema) -> Managers:
    """The managers with their fields as the schema of today types them: what became atomic is owned as a whole."""
    if schema.go is not None:
        # The schema of a built-in kind does not change under stored objects.
        return managers
    return {who: owned.holding(FieldSet(_reconciled(owned.fields.tree, schema))) for who, owned in managers.items()}


def _reconciled(tree: Tree, schema: Schema) -> Tree:
    result: Tree = {}
    for element, below in tree.items():
        child = child_schema(schema, element[2:]) if element.startswith("f:") else schema.items
        if element == MEMBER or child is None or not below:
            result[element] = below
        elif (child.type == "array" and child.list_type == "atomic") or child.map_atomic:
            result[element] = {}
        else:
            result[element] = _reconciled(below, child)
    return result


def of_known_versions(managers: Managers, new: dict[str, Any], api_version: str, versions: Versions | None) -> Managers:
    """The managers without those of versions that are not served any more.

    Raises ValueError where another manager's version cannot express the new object, so that what the manager owns
    could not be compared.
    """
    if versions is None:
        return managers
    known: Managers = {}
    for who, owned in managers.items():
        schema = versions.get(owned.api_version)
        if schema is None:
            continue
        if owned.api_version != api_version and (found := misfits(new, schema, duplicates=True)):
            raise ValueError(f"failed to convert new object: {describe_misfits(found)}")
        known[who] = owned
    return known
