"""JSON merge patch (RFC 7386), with the key order of the API server's patch library.

The order shows only where an error message quotes the patched document: objects that the patch touched come out with
sorted keys, others as they were.
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.patches.json_value import cannot_unmarshal, clone
from fairlead.kube.errors import BadRequest


def apply_merge_patch(doc: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The patched document. Raises BadRequest for a patch that is no object."""
    if patch is None:
        raise BadRequest("Invalid JSON Patch")
    if not isinstance(patch, dict):
        raise BadRequest(f"error decoding patch: {cannot_unmarshal(patch, 'map[string]interface {}')}")
    return _merge(doc, patch)


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in sorted(target.keys() | patch.keys()):
        if key not in patch:
            merged[key] = clone(target[key])
            continue
        value = patch[key]
        if value is None:
            continue
        current = target.get(key)
        if not isinstance(current, dict):
            merged[key] = _without_nulls(value)
        elif isinstance(value, dict):
            merged[key] = _merge(current, value)
        else:
            merged[key] = clone(value)
    return merged


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(value[key]) for key in sorted(value) if value[key] is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
