"""An overlay laid over a pod template by strategic merge, as `kubectl patch` would. Pure.

Objects merge field by field, null takes a field away; lists of objects that have a key merge item by item (containers
by name, volumes by name, ports by containerPort, …), other lists are replaced. Directives: `$patch: replace` and
`$patch: delete` on objects and items, `$retainKeys`, `$deleteFromPrimitiveList/…`.

Protocol: `k8s.io/apimachinery/pkg/util/strategicpatch` and the patch tags of `k8s.io/api/core/v1` for Pods.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]

_CONTAINER_LISTS: Final = {"containers", "initContainers", "ephemeralContainers"}
_MERGE_KEYS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_CONTAINER_LISTS, "name"),
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "ownerReferences": "uid",
}
"""List of a Pod -> the field that tells its items apart. Elsewhere (tolerations, args, …) lists are replaced."""
_PRIMITIVE_LISTS: Final = {"finalizers"}
_ONE_OF: Final = (frozenset({"exec", "httpGet", "tcpSocket", "grpc", "sleep"}), frozenset({"value", "valueFrom"}))
"""Fields of which an object has one: what an overlay says takes the other's place, as both would be refused."""

_DIRECTIVE, _RETAIN, _DELETE = "$patch", "$retainKeys", "$deleteFromPrimitiveList/"


class OverlayError(ValueError):
    """An overlay that cannot be laid over a template: its field, the value there, and what would do."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field} is {value!r}: {remedy}" if value not in (None, "") else f"{field}: {remedy}")
        self.field, self.value, self.remedy = field, value, remedy


def overlaid(template: Json, overlay: Mapping[str, Any], field: str) -> Json:
    """The template with the overlay over it; `field` names the overlay in messages. Raises OverlayError."""
    unknown = sorted(set(overlay) - {"metadata", "spec"})
    if unknown:
        raise OverlayError(
            f"{field}.{unknown[0]}", None, "an overlay has metadata and spec, as a pod template; write it below spec"
        )
    return _object(template, overlay, field, "")


def _object(base: Any, patch: Mapping[str, Any], path: str, parent: str) -> Json:
    directive = patch.get(_DIRECTIVE)
    if directive is not None:
        return _directed(patch, directive, path)
    merged = dict(base) if isinstance(base, Mapping) else {}
    retained = patch.get(_RETAIN)
    if retained is not None:
        if not isinstance(retained, list):
            raise OverlayError(f"{path}.{_RETAIN}", retained, "write a list of the fields to keep")
        merged = {key: value for key, value in merged.items() if key in retained}
    merged = _without_other_kinds(merged, patch, parent)
    for key, value in patch.items():
        if key == _RETAIN or key.startswith("$setElementOrder/"):
            continue
        if key.startswith(_DELETE):
            _delete_from(merged, key.removeprefix(_DELETE), value, path)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _value(merged.get(key), value, f"{path}.{key}", key)
    return merged


def _without_other_kinds(base: Json, patch: Mapping[str, Any], parent: str) -> Json:
    if parent == "volumes":
        says_kind = any(key != "name" for key in patch)
        return {key: value for key, value in base.items() if key == "name" or key in patch or not says_kind}
    for kinds in _ONE_OF:
        if kinds & patch.keys():
            base = {key: value for key, value in base.items() if key not in kinds or key in patch}
    return base


def _directed(patch: Mapping[str, Any], directive: Any, path: str) -> Json:
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    raise OverlayError(f"{path}.{_DIRECTIVE}", directive, "write replace or delete, or leave it out to merge")


def _delete_from(merged: Json, key: str, value: Any, path: str) -> None:
    if not isinstance(value, list):
        raise OverlayError(f"{path}.{_DELETE}{key}", value, "write a list of the items to take away")
    if isinstance(merged.get(key), list):
        merged[key] = [item for item in merged[key] if item not in value]


def _value(base: Any, patch: Any, path: str, key: str) -> Any:
    if isinstance(patch, Mapping):
        return _object(base, patch, path, key)
    if isinstance(patch, list):
        return _list(base, patch, path, key)
    if isinstance(base, (Mapping, list)):
        kind = "an object" if isinstance(base, Mapping) else "a list"
        raise OverlayError(path, patch, f"it is {kind}; write one, or null to take it away")
    return patch


def _list(base: Any, patch: list[Any], path: str, key: str) -> list[Any]:
    if base is not None and not isinstance(base, list):
        raise OverlayError(path, patch, "it is no list; write it as it is in a pod")
    if key in _PRIMITIVE_LISTS:
        return list(dict.fromkeys([*(base or []), *patch]))
    merge_key = _MERGE_KEYS.get(key)
    if merge_key is None:
        return [_value(None, item, f"{path}[{i}]", key) for i, item in enumerate(patch)]
    return _items(base or [], patch, path, key, merge_key)


def _items(base: list[Any], patch: list[Any], path: str, key: str, merge_key: str) -> list[Any]:
    """As the API server orders them: what was there keeps its place, what is new follows."""
    # One such item stands for all of the list, wherever it is.
    is_new = any(isinstance(item, Mapping) and _is_replacement(item, merge_key) for item in patch)
    merged = [] if is_new else list(base)
    for i, item in enumerate(patch):
        where = f"{path}[{i}]"
        if not isinstance(item, Mapping):
            raise OverlayError(where, item, f"items of {key} are objects with {merge_key}")
        if _is_replacement(item, merge_key):
            continue
        if merge_key not in item:
            raise OverlayError(where, dict(item), f"it has no {merge_key}, by which it is told which item is meant")
        same = [at for at, each in enumerate(merged) if each.get(merge_key) == item[merge_key]]
        if item.get(_DIRECTIVE) == "delete":
            merged = [each for at, each in enumerate(merged) if at not in same]
        elif same:
            merged[same[0]] = _object(merged[same[0]], item, where, key)
        else:
            merged.append(_object(None, item, where, key))
    return merged


def _is_replacement(item: Mapping[str, Any], merge_key: str) -> bool:
    return item.get(_DIRECTIVE) == "replace" and merge_key not in item
