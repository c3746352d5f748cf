"""Sets of field paths, kept as the FieldsV1 tree that goes over the wire.

A node is a dict from path element to child node. A child that is empty, or that holds the key ".", is a member of the
set; a child with other keys has members below it. Trees are in canonical order and never changed once made, so sets
may share nodes and go over the wire as they are.
Source of protocol: `meta/v1` FieldsV1; the algebra is structured-merge-diff's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fairlead.embedded.apiserver.ownership.path_element import MEMBER, canonical_element, describe, sort_key

Tree = dict[str, Any]
Path = tuple[str, ...]


class FieldSet:
    """An immutable set of field paths; a path is a tuple of path elements (`("f:spec", "f:replicas")`)."""

    __slots__ = ("tree",)

    def __init__(self, tree: Tree | None = None) -> None:
        """`tree` is one in canonical form, such as this server wrote before."""
        self.tree: Tree = {} if tree is None else tree

    @classmethod
    def decode(cls, fields_v1: Any) -> FieldSet:
        """From FieldsV1 JSON. Raises ValueError where it is malformed."""
        if not isinstance(fields_v1, dict):
            raise ValueError("fieldsV1 must be an object")
        tree = _decode(fields_v1)
        tree.pop(MEMBER, None)
        return cls(ordered(tree))

    @classmethod
    def of_paths(cls, paths: Iterable[Sequence[str]]) -> FieldSet:
        result = cls()
        for path in paths:
            if path:
                result = result.union(cls(_chain(path)))
        return result

    @classmethod
    def of_fields(cls, paths: Iterable[Sequence[str]]) -> FieldSet:
        """From paths of plain field names (`("spec", "replicas")`)."""
        return cls.of_paths([f"f:{name}" for name in path] for path in paths)

    def union(self, other: FieldSet) -> FieldSet:
        return FieldSet(_union(self.tree, other.tree))

    def intersection(self, other: FieldSet) -> FieldSet:
        return FieldSet(_intersection(self.tree, other.tree))

    def difference(self, other: FieldSet) -> FieldSet:
        """Paths of this set that the other does not hold; what lies below a path of the other stays."""
        rest = _difference(self.tree, other.tree)
        return self if rest is self.tree else FieldSet(rest)

    def recursive_difference(self, other: FieldSet) -> FieldSet:
        """Paths of this set that neither are in the other nor lie below a path of the other."""
        return FieldSet(_recursive_difference(self.tree, other.tree))

    def only_below(self, paths: FieldSet) -> FieldSet:
        """Paths of this set that are in `paths` or lie below one of them."""
        return FieldSet(_only_below(self.tree, paths.tree))

    def paths(self) -> Iterator[Path]:
        """Every path, members of a node before what lies deeper, in canonical order."""
        return _paths(self.tree, ())

    def __contains__(self, path: Sequence[str]) -> bool:
        node = self.tree
        for element in path:
            if element not in node:
                return False
            node = node[element]
        return bool(path) and (not node or MEMBER in node)

    def __bool__(self) -> bool:
        return bool(self.tree)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and self.tree == other.tree

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"FieldSet({', '.join(map(show_path, self.paths()))})"


def show_path(path: Sequence[str]) -> str:
    """A path as people read it: `.spec.containers[name="c"].image`."""
    return "".join(map(describe, path))


def _chain(path: Sequence[str]) -> Tree:
    node: Tree = {}
    for element in reversed(path):
        node = {element: node}
    return node


def _decode(node: Tree) -> Tree:
    decoded: Tree = {}
    for element, child in node.items():
        if element == MEMBER:
            decoded[MEMBER] = {}
            continue
        if not isinstance(child, dict):
            raise ValueError(f"not an object: {element}")
        decoded[canonical_element(element)] = _decode(child)
    return {} if len(decoded) == 1 and MEMBER in decoded else decoded


def ordered(node: Tree) -> Tree:
    """A tree in canonical order."""
    if len(node) < 2:
        return {element: ordered(child) for element, child in node.items()}
    return {element: ordered(node[element]) for element in sorted(node, key=sort_key)}


def _union(left: Tree, right: Tree) -> Tree:
    """Union of the children of two nodes (their own membership aside)."""
    if not left:
        return right
    if not right:
        return left
    merged = dict(left)
    for element, child in right.items():
        merged[element] = _union_nodes(merged[element], child) if element in merged else child
    if len(merged) > len(left):
        return {element: merged[element] for element in sorted(merged, key=sort_key)}
    return merged


def _union_nodes(left: Tree, right: Tree) -> Tree:
    if left == right:
        return left
    merged = _union(left, right)
    if merged and (not left or not right) and MEMBER not in merged:
        return {MEMBER: {}, **merged}
    return merged


def _intersection(left: Tree, right: Tree) -> Tree:
    common: Tree = {}
    for element, child in left.items():
        if element == MEMBER or element not in right:
            continue
        other = right[element]
        below = _intersection(child, other)
        member = (not child or MEMBER in child) and (not other or MEMBER in other)
        if member or below:
            common[element] = {MEMBER: {}, **below} if member and below else below
    return common


def _difference(left: Tree, right: Tree) -> Tree:
    """Difference of the children of two nodes; `left` itself where they have nothing in common."""
    rest: Tree = {}
    changed = False
    for element, child in left.items():
        other = right.get(element)
        if other is None or element == MEMBER:
            rest[element] = child
            continue
        below = _difference(child, other)
        lost = (not other or MEMBER in other) and (not child or MEMBER in child)
        if below is child and not lost:
            rest[element] = child
            continue
        changed = True
        if lost:
            below = {key: value for key, value in below.items() if key != MEMBER}
        if below:
            rest[element] = {} if len(below) == 1 and MEMBER in below else below
    return rest if changed else left


def _recursive_difference(left: Tree, right: Tree) -> Tree:
    rest: Tree = {}
    for element, child in left.items():
        if element == MEMBER:
            continue
        if element not in right:
            rest[element] = child
            continue
        other = right[element]
        if not other or MEMBER in other:
            continue
        below = _recursive_difference(child, other)
        member = not child or MEMBER in child
        if member or below:
            rest[element] = {MEMBER: {}, **below} if member and below else below
    return rest


def _only_below(left: Tree, right: Tree) -> Tree:
    kept: Tree = {}
    for element, child in left.items():
        if element == MEMBER or element not in right:
            continue
        other = right[element]
        if not other or MEMBER in other:
            kept[element] = child
        elif below := _only_below(child, other):
            kept[element] = below
    return kept


def _paths(node: Tree, prefix: Path) -> Iterator[Path]:
    elements = sorted((element for element in node if element != MEMBER), key=sort_key)
    for element in elements:
        child = node[element]
        if not child or MEMBER in child:
            yield (*prefix, element)
    for element in elements:
        yield from _paths(node[element], (*prefix, element))
