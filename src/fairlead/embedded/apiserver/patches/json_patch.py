"""JSON patch (RFC 6902) with the liberties that the API server's patch library takes.

They are part of the protocol that clients meet: `replace` of a missing object member adds it, `copy` of a missing
member adds null, a missing `value` is null, negative array indices count from the end, and objects that an operation
went through come out with sorted keys (visible in error messages that quote the document).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fairlead.embedded.apiserver.patches.errors import rejected
from fairlead.embedded.apiserver.patches.json_value import cannot_unmarshal, clone
from fairlead.kube.errors import BadRequest, RequestEntityTooLarge

MAX_OPERATIONS = 10_000
"""The API server refuses longer patches."""

_INDEX = re.compile(r"[+-]?[0-9]+\Z")


def apply_json_patch(doc: dict[str, Any], ops: Any) -> Any:
    """The patched document, an object unless an operation replaced the root by a list.

    A null patch changes nothing. Raises BadRequest for what is not a list of operations, RequestEntityTooLarge for too
    many of them, and Invalid (with the API server's fixed message) for an operation that fails, `test` included.
    """
    ops = [] if ops is None else ops
    if not isinstance(ops, list):
        raise BadRequest(f"error decoding patch: {cannot_unmarshal(ops, '[]interface {}')}")
    for op in ops:
        if not isinstance(op, dict):
            raise BadRequest(cannot_unmarshal(op, "jsonpatch.Operation"))
    if len(ops) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            "Request entity too large: "
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        )
    patched = _Document(clone(doc))
    for op in ops:
        kind = op.get("op")
        operation = _OPERATIONS.get(kind) if isinstance(kind, str) else None
        if operation is None:
            raise rejected()
        operation(patched, op)
    return patched.finish()


class _Document:
    """The document under change, and the objects that operations went through."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._opened: dict[int, dict[str, Any]] = {}

    def locate(self, pointer: str) -> tuple[Any, str]:
        """The container that holds the last token of a JSON pointer, and that token."""
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
        if not tokens:
            raise rejected()
        container = self._open(self.root)
        for token in tokens[:-1]:
            container = self._open(_get(container, token))
        return container, tokens[-1]

    def sort(self, value: Any) -> None:
        """Mark objects in `value` as gone through."""
        if isinstance(value, dict):
            self._opened[id(value)] = value
            for item in value.values():
                self.sort(item)
        elif isinstance(value, list):
            for item in value:
                self.sort(item)

    def finish(self) -> Any:
        self._open(self.root)
        for opened in self._opened.values():
            ordered = sorted(opened.items())
            opened.clear()
            opened.update(ordered)
        return self.root

    def _open(self, value: Any) -> Any:
        if isinstance(value, dict):
            self._opened[id(value)] = value
        elif not isinstance(value, list):
            raise rejected()
        return value


def _get(container: Any, token: str) -> Any:
    """The member, None for a missing object member; raises Invalid for a bad array index."""
    if isinstance(container, dict):
        return container.get(token)
    return container[_existing_index(container, token)]


def _existing_index(container: list[Any], token: str) -> int:
    index = _index(token)
    if not -len(container) <= index < len(container):
        raise rejected()
    return index


def _index(token: str) -> int:
    if not _INDEX.match(token):
        raise rejected()
    return int(token)


def _add_at(container: Any, token: str, value: Any) -> None:
    if isinstance(container, dict):
        container[token] = value
    elif token == "-":
        container.append(value)
    else:
        index, size = _index(token), len(container) + 1
        if not -size <= index < size:
            raise rejected()
        container.insert(index + size if index < 0 else index, value)


def _remove_at(container: Any, token: str) -> None:
    if isinstance(container, dict):
        if token not in container:
            raise rejected()
        del container[token]
    else:
        del container[_existing_index(container, token)]


def _pointer(op: dict[str, Any], key: str) -> str:
    pointer = op.get(key)
    if not isinstance(pointer, str):
        raise rejected()
    return pointer


def _add(doc: _Document, op: dict[str, Any]) -> None:
    container, token = doc.locate(_pointer(op, "path"))
    _add_at(container, token, clone(op.get("value")))


def _remove(doc: _Document, op: dict[str, Any]) -> None:
    _remove_at(*doc.locate(_pointer(op, "path")))


def _replace(doc: _Document, op: dict[str, Any]) -> None:
    path, value = _pointer(op, "path"), clone(op.get("value"))
    if path == "":
        if not isinstance(value, dict | list):
            raise rejected()
        doc.root = value
        return
    container, token = doc.locate(path)
    if isinstance(container, list):
        container[_existing_index(container, token)] = value
    else:
        container[token] = value


def _move(doc: _Document, op: dict[str, Any]) -> None:
    container, token = doc.locate(_pointer(op, "from"))
    value = _get(container, token)
    _remove_at(container, token)
    container, token = doc.locate(_pointer(op, "path"))
    _add_at(container, token, value)


def _copy(doc: _Document, op: dict[str, Any]) -> None:
    value = _get(*doc.locate(_pointer(op, "from")))
    container, token = doc.locate(_pointer(op, "path"))
    _add_at(container, token, clone(value))


def _test(doc: _Document, op: dict[str, Any]) -> None:
    path = _pointer(op, "path")
    value = doc.root if path == "" else _get(*doc.locate(path))
    if not _same(value, op.get("value")):
        raise rejected()
    doc.sort(value)


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON texts: 1, 1.0 and true all differ."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(_same(value, right[key]) for key, value in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and bool(left == right)


_OPERATIONS: dict[str, Callable[[_Document, dict[str, Any]], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
