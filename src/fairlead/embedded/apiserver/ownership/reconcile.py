"""Field sets under a schema that changed since they were written: what became atomic is owned as a whole."""

from __future__ import annotations

from dataclasses import replace

from fairlead.embedded.apiserver.ownership.entries import Managers
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet, Tree
from fairlead.embedded.apiserver.ownership.path_element import MEMBER
from fairlead.embedded.apiserver.ownership.typed import child_schema
from fairlead.embedded.apiserver.schema.node import Schema


def reconcile(managers: Managers, schema: Schema) -> Managers:
    """The managers with their fields as the schema of today types them."""
    if schema.go is not None:
        # The schema of a built-in kind does not change under stored objects.
        return managers
    return {
        who: replace(owned, fields=FieldSet(_reconciled(owned.fields.tree, schema))) for who, owned in managers.items()
    }


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
