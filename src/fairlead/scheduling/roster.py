"""Who there is: the pods that are ours to place or stand on nodes, put together to gangs when somebody looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fairlead.kube.objects import Pod
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.gangs.assemble import assemble, gang_key, single
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.sources.reference import GangContext, GangRef
from fairlead.scheduling.snapshot import PodView

Identity = tuple[str, str, str]
"""Kind, namespace and name of a gang."""


Named = tuple[str, str]
"""A namespace and a PodGroup, or "" and the uid of an owner."""


@dataclass(slots=True)
class Member:
    """A pod and the gang that it belongs to."""

    pod: Pod
    view: PodView
    ref: GangRef | None
    """None for a gang of one."""
    identity: Identity
    named: tuple[Named, ...] = ()
    """What it names on which its gang may depend."""


class Roster:
    """Pods by gang. Gangs are assembled anew after something about them has changed."""

    def __init__(self, fleet: Fleet, context: GangContext) -> None:
        self._fleet = fleet
        self._context = context
        self.members: dict[str, Member] = {}
        """By pod uid."""
        self._uids: dict[Identity, dict[str, None]] = {}
        self._naming: dict[Named, dict[str, None]] = {}  # what pods name -> their uids
        self._gangs: dict[Identity, Gang] = {}
        self._changed: dict[Identity, None] = {}
        self.stranded: dict[str, str] = {}
        """Uid -> node of pods that were decided for a node that is gone since."""

    def set(self, pod: Pod, view: PodView) -> None:
        """A pod is there, or is different."""
        uid = pod.metadata.uid
        known = self.members.get(uid)
        ref = gang_key(pod, self._context)
        identity = ("Pod", view.namespace, view.name) if ref is None else ref.identity
        named = _named(pod)
        if known is not None and (known.identity, known.named) != (identity, named):
            self.drop(uid)
        self.members[uid] = Member(pod, view, ref, identity, named)
        for each in named:
            self._naming.setdefault(each, {})[uid] = None
        self._uids.setdefault(identity, {})[uid] = None
        self.touch(identity)

    def drop(self, uid: str) -> Identity | None:
        """A pod is gone or done. Returns its gang."""
        member = self.members.pop(uid, None)
        if member is None:
            return None
        for each in dict.fromkeys(member.named):
            naming = self._naming[each]
            del naming[uid]
            if not naming:
                del self._naming[each]
        uids = self._uids[member.identity]
        del uids[uid]
        if not uids:
            del self._uids[member.identity]
        self.touch(member.identity)
        return member.identity

    def touch(self, identity: Identity) -> None:
        """Something about a gang is different: its description, or where its pods stand."""
        self._gangs.pop(identity, None)
        self._changed[identity] = None

    def touch_pod(self, uid: str) -> None:
        member = self.members.get(uid)
        if member is not None:
            self.touch(member.identity)

    def touch_groups(self) -> None:
        """Something that groups of pods may be described by is different."""
        for identity in self._uids:
            if identity[0] != "Pod":
                self.touch(identity)

    def touch_namespace(self, namespace: str) -> None:
        """Something about all gangs of a namespace is different."""
        for identity in self._uids:
            if identity[1] == namespace:
                self.touch(identity)

    def rekey(self, namespace: str) -> None:
        """What describes gangs is different: pods of the namespace ("" for all) may belong to another gang."""
        for member in list(self.members.values()):
            if namespace in ("", member.view.namespace):
                self.set(member.pod, member.view)

    def rekey_naming(self, namespace: str, name: str) -> None:
        """The same for pods that name a PodGroup of a namespace, or have an owner (namespace "", and its uid)."""
        for uid in list(self._naming.get((namespace, name), ())):
            member = self.members[uid]
            self.set(member.pod, member.view)

    def touch_named(self, kinds: Iterable[str], namespace: str, name: str) -> None:
        """What describes the gangs of a name is different, but not who belongs to them."""
        for kind in kinds:
            if (kind, namespace, name) in self._uids:
                self.touch((kind, namespace, name))

    def take_changed(self) -> list[Identity]:
        """The gangs that were touched since the last call, gone ones too."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def gang(self, identity: Identity) -> Gang | None:
        """A gang as it is now; None where it has no pods."""
        found = self._gangs.get(identity)
        if found is None:
            uids = self._uids.get(identity)
            if not uids:
                return None
            found = self._gangs[identity] = self._assemble([self.members[uid] for uid in uids])
        return found

    def identities(self) -> Iterable[Identity]:
        return self._uids.keys()

    def gangs(self) -> Iterator[Gang]:
        """All gangs, pending and placed."""
        for identity in list(self._uids):
            found = self.gang(identity)
            if found is not None:
                yield found

    def find(self, namespace: str, name: str) -> list[Gang]:
        """The gangs of a name, and the gang of the pod of that name."""
        wanted = {identity: None for identity in self._uids if identity[1:] == (namespace, name)}
        for member in self.members.values():
            if member.view.key == (namespace, name):
                wanted[member.identity] = None
        return [found for identity in wanted if (found := self.gang(identity)) is not None]

    def gang_of(self, uid: str) -> Gang | None:
        """The gang of a pod."""
        member = self.members.get(uid)
        return self.gang(member.identity) if member is not None else None

    def _assemble(self, members: list[Member]) -> Gang:
        first = members[0]
        if first.ref is None:
            return single(first.pod, self._standing(first), self._context)
        return assemble(first.ref, [(member.pod, self._standing(member)) for member in members], self._context)

    def _standing(self, member: Member) -> PodView:
        """The pod with the node where it counts, bound or only decided."""
        standing = self._fleet.pods.get(member.view.uid)
        if member.view.node:
            return member.view
        if standing is None:
            gone = self.stranded.get(member.view.uid)
            return replace(member.view, node=gone) if gone else member.view
        node = self._fleet.nodes[standing.row]
        return member.view if node is None else replace(member.view, node=node.name)


def _named(pod: Pod) -> tuple[Named, ...]:
    owners = tuple([("", owner.uid) for owner in pod.metadata.owner_references])
    group = pod.spec.scheduling_group
    return owners if group is None else (*owners, (pod.metadata.namespace, group.pod_group_name))
