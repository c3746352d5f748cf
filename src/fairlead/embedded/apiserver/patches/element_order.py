"""The order of merged lists: a list that the patch orders keeps that order, and items only the server has keep theirs.

Where the two meet, an item goes before another when the server's list had both in that order.
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.patches.errors import unclassified
from fairlead.embedded.apiserver.patches.json_value import go_print
from fairlead.kube.errors import ApiError

_ABSENT = object()


def merge_key_error(item: Any, merge_key: str) -> ApiError:
    return unclassified(f"map: {go_print(item)} does not contain declared merge key: {merge_key}")


def split_by_presence(items: list[Any], reference: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """Items that `reference` holds too, and the others."""
    known = [_identity(item, merge_key) for item in reference]
    present: list[Any] = []
    others: list[Any] = []
    for item in items:
        if merge_key and merge_key not in item:
            raise merge_key_error(item, merge_key)
        (present if _identity(item, merge_key) in known else others).append(item)
    return present, others


def ordered_elements(
    patched: list[Any], server_only: list[Any], patch_order: list[Any], server_order: list[Any], merge_key: str
) -> list[Any]:
    """Both parts sorted by their own order, then interleaved by the server's order."""
    patch_rank = [_identity(item, merge_key) for item in patch_order]
    server_rank = [_identity(item, merge_key) for item in server_order]
    left = sorted(server_only, key=lambda item: _rank(server_rank, item, merge_key))
    right = sorted(patched, key=lambda item: _rank(patch_rank, item, merge_key))
    ordered: list[Any] = []
    while left and right:
        l_rank, r_rank = _rank(server_rank, left[0], merge_key), _rank(server_rank, right[0], merge_key)
        ordered.append(left.pop(0) if 0 <= l_rank < r_rank else right.pop(0))
    return ordered + left + right


def check_against_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """Refuse a patch list whose items contradict its `$setElementOrder` list, or are missing there."""
    if not patch or not order:
        return
    pending = [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    position = 0
    for entry in order:
        if position < len(pending) and _key_of(pending[position], merge_key) == _key_of(entry, merge_key):
            position += 1
    if position < len(pending):
        raise unclassified(
            f"The order in patch list:\n{go_print(patch)}\n doesn't match $setElementOrder list:\n{go_print(order)}\n"
        )


def _key_of(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return item
    if not isinstance(item, dict):
        raise unclassified("expected a map[string]interface {}, but received a different type")
    if merge_key not in item:
        raise merge_key_error(item, merge_key)
    return item[merge_key]


def _identity(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return item
    return item.get(merge_key, _ABSENT) if isinstance(item, dict) else _ABSENT


def _rank(ranking: list[Any], item: Any, merge_key: str) -> int:
    identity = _identity(item, merge_key)
    return ranking.index(identity) if identity in ranking else -1
