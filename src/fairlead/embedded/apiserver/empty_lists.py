"""Empty lists as storage leaves them: the API server's storage format knows no difference between empty and absent."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator

from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.schema.node import Schema

Path = tuple[str, ...]

_DEPTH = 6
"""Deeper than the deepest such list of a built-in kind that lies in structs only; ends circles of definitions."""


def settle(type_: ResourceType, obj: Object) -> None:
    """Make an object's empty lists null, or absent where null is not written, in place. Validation sees the object
    before that."""
    if type_.is_custom:
        return
    for path, is_written in _list_paths(type_.schema):
        holder = _holder(obj, path)
        if holder is not None and holder.get(path[-1]) == []:
            if is_written:
                holder[path[-1]] = None
            else:
                del holder[path[-1]]


def hide(type_: ResourceType, obj: Object) -> list[tuple[Object, str]]:
    """Take away the empty lists that are not written, in place: nobody owns them. Returns what `show` needs."""
    hidden = []
    for path in () if type_.is_custom else _unwritten_paths(type_.schema):
        holder = _holder(obj, path)
        if holder is not None and holder.get(path[-1]) == []:
            del holder[path[-1]]
            hidden.append((holder, path[-1]))
    return hidden


def show(hidden: list[tuple[Object, str]]) -> None:
    """Bring hidden lists back."""
    for holder, name in hidden:
        holder[name] = []


def generation_changed(type_: ResourceType, new: Object, old: Object) -> bool:
    """Whether the generation grows; it does not when lists became empty only in storage."""
    if not type_.strategy.generation_changed(new, old):
        return False
    nulls = [path for path, is_written in _list_paths(type_.schema) if is_written]
    emptied = [path for path in nulls if (_holder(new, path) or {}).get(path[-1]) == []]
    if type_.is_custom or not emptied:
        return True
    settled = copy.deepcopy(new)
    for path in emptied:
        holder = _holder(settled, path)
        assert holder is not None
        holder[path[-1]] = None
    return type_.strategy.generation_changed(settled, old)


def _holder(obj: Object, path: Path) -> Object | None:
    holder: Object | None = obj
    for key in path[:-1]:
        if not holder:
            return None
        holder = holder.get(key)
    return holder


@functools.cache
def _list_paths(schema: Schema) -> tuple[tuple[Path, bool], ...]:
    """Where a built-in kind has lists that may be given empty, outside of other lists and maps, and whether they are
    written even when they are absent (as null)."""
    return tuple(_walk(schema, ()))


@functools.cache
def _unwritten_paths(schema: Schema) -> tuple[Path, ...]:
    return tuple(path for path, is_written in _list_paths(schema) if not is_written)


def _walk(schema: Schema, prefix: Path) -> Iterator[tuple[Path, bool]]:
    if schema.go is None or len(prefix) > _DEPTH:
        return
    for name, child in schema.properties.items():
        if child.items is not None and child.go_type.startswith("[]"):
            if name in schema.go.zeros or name in schema.go.kept:
                yield (*prefix, name), name in schema.go.zeros
        elif name != "metadata":
            yield from _walk(child, (*prefix, name))
