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
    unblock: bool = False
    """Stop blocking the deletion of any owner: owners and dependents wait for each other in a circle."""


@dataclass(slots=True)
class Graph:
    """Objects by uid, with their dependents, and owners that are known not to exist."""

    nodes: dict[str, Node] = field(default_factory=dict)
    dependents: dict[str, set[str]] = field(default_factory=dict)
    """Owner uid -> uids that name it, whether the owner is known or not."""
    absent: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """Owner uid -> namespace and name under which it was looked for in vain, while anything names it."""

    def put(self, node: Node) -> set[str]:
        """Add or replace an object; returns the uids whose verdict may have changed."""
        before = self.nodes.get(node.uid)
        for owner in node.owners:
            self.dependents.setdefault(owner.uid, set()).add(node.uid)
        kept = {o.uid for o in node.owners}
        self._detach(node.uid, (o for o in (before.owners if before else ()) if o.uid not in kept))
        self.nodes[node.uid] = node
        return {node.uid, *self._related(node), *(self._related(before) if before else ())}

    def remove(self, uid: str) -> set[str]:
        """Forget an object that was deleted; returns the uids whose verdict may have changed."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return set()
        affected = {u for u in self._related(node) if u in self.nodes}
        self._detach(uid, node.owners)
        if uid in self.dependents:
            self.absent.setdefault(uid, set()).add((node.namespace, node.name))
        return affected

    def forget(self, uid: str) -> set[str]:
        """Stop knowing an object that may well exist; returns the uids whose verdict may have changed."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return set()
        self._detach(uid, node.owners)
        return {u for u in self._related(node) if u in self.nodes}

    def mark_absent(self, owner: Reference, namespace: str) -> set[str]:
        """The API says that this owner does not exist; `namespace` is where its dependents are."""
        if owner.uid in self.dependents:
            self.absent.setdefault(owner.uid, set()).add((namespace, owner.name))
        return set(self.dependents.get(owner.uid, ()))

    def owner(self, node: Node, reference: Reference) -> Node | None:
        """The object that a reference of `node` names, if the graph has it and it is where the reference says: of that
        name, and in the same namespace or in none."""
        found = self.nodes.get(reference.uid)
        if found is None or found.name != reference.name or found.namespace not in ("", node.namespace):
            return None
        return found

    def is_absent(self, node: Node, reference: Reference) -> bool:
        looked = self.absent.get(reference.uid, ())
        return any((namespace, reference.name) in looked for namespace in (node.namespace, ""))

    def _detach(self, uid: str, owners: Iterable[Reference]) -> None:
        for owner in owners:
            left = self.dependents.get(owner.uid)
            if left is not None:
                left.discard(uid)
                if not left:
                    del self.dependents[owner.uid]
                    self.absent.pop(owner.uid, None)

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
    found = {o: graph.owner(node, o) for o in node.owners}
    unknown = tuple(o for o, at in found.items() if at is None and not graph.is_absent(node, o))
    if unknown:
        return Verdict(check_owners=unknown)
    gone = tuple(o.uid for o, at in found.items() if at is None)
    waiting = tuple(o.uid for o, at in found.items() if at is not None and _waits_in_foreground(at))
    if len(gone) + len(waiting) < len(found):
        return Verdict(remove_owners=(*gone, *waiting)) if gone or waiting else Verdict()
    children = list(graph.children(node.uid))
    if waiting and children:
        # Dependents of a dependent go first, so that nothing outlives what it needs.
        circular = any(_waits_in_foreground(child) for child in children) and any(o.blocks for o in node.owners)
        return Verdict(delete="Foreground", unblock=circular)
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
