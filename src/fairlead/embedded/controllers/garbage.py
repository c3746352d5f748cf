"""Garbage collection: which objects go because their owners went, and which owners wait for dependents. Pure.

The graph holds only metadata. Semantics: kube's garbage collector: background (a dependent goes when every owner is
gone), foreground (`foregroundDeletion`: the owner waits for dependents with `blockOwnerDeletion`), orphan
(`orphan`: dependents lose their owner reference).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fairlead.kube.objects.meta import ObjectMeta

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Reference:
    """One owner of an object."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool


@dataclass(slots=True)
class Node:
    """One object as the graph knows it. `resource` identifies its type to whoever carries decisions out."""

    uid: str
    resource: tuple[str, str, str]
    """Group, version, plural."""
    namespace: str
    name: str
    owners: tuple[Reference, ...] = ()
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with one object; all fields empty means nothing.

    `delete` is a propagation policy ("" for none); `remove_owners` are owner uids to drop from its references;
    `remove_finalizer` is a finalizer whose condition is met; `check_owners` are owners that the graph has never seen:
    ask the API whether they exist before deciding.
    """

    delete: str = ""
    remove_owners: tuple[str, ...] = ()
    remove_finalizer: str = ""
    check_owners: tuple[Reference, ...] = ()


@dataclass(slots=True)
class Graph:
    """Objects by uid, with their dependents, and owners that are known not to exist."""

    nodes: dict[str, Node] = field(default_factory=dict)
    dependents: dict[str, set[str]] = field(default_factory=dict)
    """Owner uid -> uids that name it, whether the owner is known or not."""
    absent: set[str] = field(default_factory=set)

    def put(self, node: Node) -> set[str]:
        """Add or replace an object; returns the uids whose verdict may have changed."""
        before = self.nodes.get(node.uid)
        for owner in before.owners if before else ():
            self.dependents.get(owner.uid, set()).discard(node.uid)
        for owner in node.owners:
            self.dependents.setdefault(owner.uid, set()).add(node.uid)
        self.nodes[node.uid] = node
        self.absent.discard(node.uid)
        return {node.uid, *self._related(node), *(self._related(before) if before else ())}

    def remove(self, uid: str) -> set[str]:
        """Forget an object that was deleted; returns the uids whose verdict may have changed."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return set()
        affected = {u for u in self._related(node) if u in self.nodes}
        for owner in node.owners:
            self.dependents.get(owner.uid, set()).discard(uid)
        if self.dependents.get(uid):
            self.absent.add(uid)
        else:
            self.dependents.pop(uid, None)
        return affected

    def mark_absent(self, uid: str) -> set[str]:
        """The API says that this owner does not exist."""
        self.absent.add(uid)
        return set(self.dependents.get(uid, ()))

    def children(self, uid: str) -> Iterator[Node]:
        for child in sorted(self.dependents.get(uid, ())):
            if child in self.nodes:
                yield self.nodes[child]

    def _related(self, node: Node) -> Iterable[str]:
        yield from (owner.uid for owner in node.owners)
        yield from self.dependents.get(node.uid, ())


def compute_verdict(graph: Graph, uid: str) -> Verdict:
    """What the state of the graph says about one object."""
    node = graph.nodes.get(uid)
    if node is None:
        return Verdict()
    if node.deleting and ORPHAN in node.finalizers:
        held = any(any(o.uid == uid for o in child.owners) for child in graph.children(uid))
        return Verdict() if held else Verdict(remove_finalizer=ORPHAN)
    orphaning = tuple(o.uid for o in node.owners if _is_orphaning(graph, o.uid))
    if orphaning:
        return Verdict(remove_owners=orphaning)
    if node.deleting:
        if FOREGROUND in node.finalizers and not _blocked(graph, uid):
            return Verdict(remove_finalizer=FOREGROUND)
        return Verdict()
    return _by_owners(graph, node) if node.owners else Verdict()


def _by_owners(graph: Graph, node: Node) -> Verdict:
    unknown = tuple(o for o in node.owners if o.uid not in graph.nodes and o.uid not in graph.absent)
    if unknown:
        return Verdict(check_owners=unknown)
    gone = tuple(o.uid for o in node.owners if o.uid in graph.absent)
    waiting = tuple(o.uid for o in node.owners if _is(graph, o.uid, _waits_in_foreground))
    solid = [o for o in node.owners if o.uid not in gone and o.uid not in waiting]
    if solid:
        return Verdict(remove_owners=(*gone, *waiting)) if gone or waiting else Verdict()
    if waiting:
        # Dependents of a dependent go first where they block, so that nothing outlives what it needs.
        blocks = any(o.blocks for child in graph.children(node.uid) for o in child.owners if o.uid == node.uid)
        return Verdict(delete="Foreground" if blocks else "Background")
    if ORPHAN in node.finalizers:
        return Verdict(delete="Orphan")
    return Verdict(delete="Foreground" if FOREGROUND in node.finalizers else "Background")


def _blocked(graph: Graph, uid: str) -> bool:
    return any(o.blocks for child in graph.children(uid) for o in child.owners if o.uid == uid)


def _is(graph: Graph, uid: str, test: Callable[[Node], bool]) -> bool:
    node = graph.nodes.get(uid)
    return node is not None and test(node)


def _waits_in_foreground(node: Node) -> bool:
    return node.deleting and FOREGROUND in node.finalizers


def _is_orphaning(graph: Graph, uid: str) -> bool:
    return _is(graph, uid, lambda n: n.deleting and ORPHAN in n.finalizers)


def node_of(meta: ObjectMeta, resource: tuple[str, str, str]) -> Node:
    """The graph's node of an object, from its metadata."""
    owners = tuple(
        Reference(o.api_version, o.kind, o.name, o.uid, bool(o.block_owner_deletion)) for o in meta.owner_references
    )
    return Node(
        uid=meta.uid,
        resource=resource,
        namespace=meta.namespace,
        name=meta.name,
        owners=owners,
        finalizers=tuple(meta.finalizers),
        deleting=meta.is_deleting,
        resource_version=meta.resource_version,
    )
