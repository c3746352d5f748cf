"""Strategic merge patch of built-in kinds: lists merge by key where the type says so, and directives steer the rest.

Directives: `$patch` (replace, delete, on objects and list items), `$retainKeys`, `$deleteFromPrimitiveList/<list>`,
`$setElementOrder/<list>`. The merge metadata is `patch_strategies` and `patch_merge_key` of the schema nodes.
"""

from __future__ import annotations

import json
from typing import Any

from fairlead.embedded.apiserver.patches.element_order import (
    check_against_order,
    merge_key_error,
    ordered_elements,
    split_by_presence,
)
from fairlead.embedded.apiserver.patches.errors import rejected, unclassified
from fairlead.embedded.apiserver.patches.json_value import cannot_unmarshal, clone, go_print, go_type
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.errors import BadRequest

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList"
_ORDER_PREFIX = "$setElementOrder"

_ANYTHING = Schema()


def apply_strategic_patch(doc: dict[str, Any], patch: Any, schema: Schema) -> dict[str, Any]:
    """The patched document; a null patch changes nothing.

    Raises BadRequest for malformed directives, Invalid for what strategic merge cannot do, and ApiError 500 (as the
    API server does) for merge keys that are missing and element orders that contradict the patch.
    """
    patch = {} if patch is None else patch
    if not isinstance(patch, dict):
        raise BadRequest(cannot_unmarshal(patch, "map[string]interface {}"))
    return _merge_object(clone(doc), clone(patch), schema)


def _merge_object(original: dict[str, Any], patch: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """Merge into `original`. Both arguments are private copies and are consumed."""
    if _DIRECTIVE in patch:
        return _directed_object(patch)
    _retain_keys(original, patch)
    _merge_ordered_lists(original, patch, schema)
    for key, value in patch.items():
        deleting = key.startswith(_DELETE_PREFIX)
        if deleting:
            key = _directive_target(key, _DELETE_PREFIX)
        if value is None:
            original.pop(key, None)
        elif key not in original or type(original[key]) is not type(value):
            if not deleting:
                _discard_nulls(value)
                _put(original, key, value)
        elif isinstance(value, dict):
            child, strategy = _struct_field(schema, key)
            original[key] = value if strategy == "replace" else _merge_object(original[key], value, child)
        elif isinstance(value, list):
            child, strategy = _list_field(schema, key)
            if deleting:
                original[key] = [item for item in original[key] if item not in value]
            elif strategy == "merge":
                original[key] = _merge_list(original[key], value, child)
            else:
                original[key] = value
        else:
            original[key] = value
    return original


def _directed_object(patch: dict[str, Any]) -> dict[str, Any]:
    match patch[_DIRECTIVE]:
        case "replace":
            del patch[_DIRECTIVE]
            return patch
        case "delete":
            return {}
    raise _unknown_directive(patch)


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    if _RETAIN_KEYS not in patch:
        return
    retained = patch.pop(_RETAIN_KEYS)
    if not isinstance(retained, list):
        raise BadRequest("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith((_DELETE_PREFIX, _ORDER_PREFIX)) and key not in retained:
            raise BadRequest("invalid patch format of retainKeys")
    for key in [key for key in original if key not in retained]:
        del original[key]


def _merge_ordered_lists(original: dict[str, Any], patch: dict[str, Any], schema: Schema) -> None:
    """Merge and order the lists that have a `$setElementOrder` directive, taking them out of the patch."""
    for directive in [key for key in patch if key.startswith(_ORDER_PREFIX)]:
        order = _as_list(patch.pop(directive))
        key = _directive_target(directive, _ORDER_PREFIX)
        current = _as_list(original[key]) if key in original else None
        wanted = _as_list(patch[key]) if key in patch else None
        child, strategy = _list_field(schema, key)
        merge_key = child.patch_merge_key
        check_against_order(wanted or [], order, merge_key)
        if current is None and wanted is None:
            continue
        if wanted is None:
            merged = current or []
        elif current is None:
            merged = _without_directives(wanted)
        else:
            merged = _merge_list(list(current), wanted, child) if strategy == "merge" else wanted
        in_order, server_only = split_by_presence(merged, order, merge_key)
        _check_element_types(current or [], wanted or [])
        original[key] = ordered_elements(in_order, server_only, order, current or [], merge_key)
        patch.pop(key, None)


def _merge_list(original: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if not original and not patch:
        return original
    _check_element_types(original, patch)
    if not isinstance((original or patch)[0], dict):
        merged = list(dict.fromkeys(original + patch))
        present, server_only = split_by_presence(merged, patch, "")
        return ordered_elements(present, server_only, patch, original, "")
    merge_key = schema.patch_merge_key
    if not merge_key:
        raise unclassified(f"cannot merge lists without merge key for {_go_kind(schema.items or _ANYTHING)}")
    original, patch = _take_special_items(original, patch, merge_key)
    merged = _merge_items(original, patch, merge_key, schema.items or _ANYTHING)
    present, server_only = split_by_presence(merged, patch, merge_key)
    return ordered_elements(present, server_only, patch, original, merge_key)


def _take_special_items(
    original: list[Any], patch: list[Any], merge_key: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Carry out the items that are directives; the remaining original and the remaining patch."""
    plain: list[dict[str, Any]] = []
    replace = False
    for item in patch:
        match item.get(_DIRECTIVE, _ANYTHING):
            case "delete":
                if merge_key not in item:
                    raise merge_key_error(item, merge_key)
                original = [entry for entry in original if entry.get(merge_key, _ANYTHING) != item[merge_key]]
            case "replace":
                replace = True
            case "merge":
                raise unclassified("merging lists cannot yet be specified in the patch")
            case other if other is _ANYTHING:
                plain.append(item)
            case _:
                raise _unknown_directive(item)
    return (plain, []) if replace else (original, plain)


def _merge_items(
    original: list[dict[str, Any]], patch: list[dict[str, Any]], merge_key: str, schema: Schema
) -> list[dict[str, Any]]:
    merged = list(original)
    for item in patch:
        if merge_key not in item:
            raise merge_key_error(item, merge_key)
        for position, entry in enumerate(merged):
            if merge_key in entry and entry[merge_key] == item[merge_key]:
                merged[position] = _merge_object(entry, item, schema)
                break
        else:
            merged.append(item)
    return merged


def _struct_field(schema: Schema, key: str) -> tuple[Schema, str]:
    """The schema and merge strategy of a field, as the patch metadata of Go structs gives it."""
    if schema is _ANYTHING:
        return _ANYTHING, ""
    child = schema.properties.get(key)
    if child is None:
        if not schema.properties and schema.additional is not None:
            raise unclassified("merging an object in json but data type is not struct, instead is: map")
        name = schema.go.name if schema.go is not None else schema.go_type.rpartition(".")[2]
        raise unclassified(f"unable to find api field in struct {name} for the json field {json.dumps(key)}")
    strategies = child.patch_strategies - {"retainKeys"}
    return child, next(iter(strategies), "")


def _list_field(schema: Schema, key: str) -> tuple[Schema, str]:
    child, strategy = _struct_field(schema, key)
    if child is not _ANYTHING and child.type != "array":
        raise unclassified(f"expected slice or array type, but got: {_go_kind(schema)}")
    return child, strategy


def _go_kind(schema: Schema) -> str:
    if schema.type == "object":
        return "struct" if schema.properties or schema.additional is None else "map"
    return {"array": "slice", "integer": "int", "boolean": "bool"}.get(schema.type, schema.type or "interface")


def _directive_target(key: str, prefix: str) -> str:
    head, slash, target = key.partition("/")
    if not slash or head != prefix:
        kind = "primitive list" if prefix == _DELETE_PREFIX else "setElementOrder list"
        raise BadRequest(f"invalid patch format of {kind}")
    return target


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise unclassified(f"expected a []interface {{}}, but received a {go_type(value)}")
    return value


def _check_element_types(*lists: list[Any]) -> None:
    kinds = {go_type(item) for items in lists for item in items}
    if "[]interface {}" in kinds:
        raise rejected()
    if len(kinds) > 1:
        raise unclassified(f"list element types are not identical: {go_print(list(lists))}")


def _discard_nulls(value: Any) -> None:
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item is None]:
            del value[key]
        for item in value.values():
            _discard_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _discard_nulls(item)


def _put(target: dict[str, Any], key: str, value: Any) -> None:
    """Set a member to a patch value freed of directives; an object that is itself a directive vanishes."""
    if isinstance(value, dict) and _DIRECTIVE in value:
        target.pop(key, None)
    else:
        target[key] = _without_directives(value)


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_directives(v) for k, v in value.items() if not (isinstance(v, dict) and _DIRECTIVE in v)}
    if isinstance(value, list):
        return [_without_directives(v) for v in value if not (isinstance(v, dict) and _DIRECTIVE in v)]
    return value


def _unknown_directive(patch: dict[str, Any]) -> Exception:
    return unclassified(f"unknown patch type: {go_print(patch[_DIRECTIVE])} in map: {go_print(patch)}")
