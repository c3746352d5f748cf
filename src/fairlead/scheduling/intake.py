"""From API objects to what decisions see: the fleet's state, the pods by gang, and what describes gangs and queues.

Objects may come in any order and more than once. What one refers to and is not there yet is looked up again when it
comes. Pure: told of each object by `see` and `lose`, it asks nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from fairlead.kube.objects import (
    DeviceClass,
    DeviceTaintRule,
    Job,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    PriorityClass,
    ResourceClaim,
    ResourceSlice,
    StorageClass,
)
from fairlead.kube.objects.scheduling import CompositePodGroup, PodGroup
from fairlead.scheduling.eviction.reservations import is_stand_in
from fairlead.scheduling.fleet.fleet import ClaimKey, Fleet
from fairlead.scheduling.gangs.sources import coscheduling, kai, volcano
from fairlead.scheduling.gangs.sources.pod_groups import group_claims
from fairlead.scheduling.gangs.sources.queue_names import QUEUE
from fairlead.scheduling.gangs.sources.reference import (
    COSCHEDULING_POD_GROUPS,
    KAI_POD_GROUPS,
    RAW_RESOURCES,
    VOLCANO_POD_GROUPS,
    GangContext,
    Json,
    RawKey,
)
from fairlead.scheduling.observe import Context, Observer, observe_node
from fairlead.scheduling.observe.claims import claim_names
from fairlead.scheduling.observe.volumes import Storage
from fairlead.scheduling.roster import Roster
from fairlead.scheduling.snapshot import NodeView, PodView, Shape

_LOG = logging.getLogger("fairlead.scheduling")
_DONE: Final = ("Succeeded", "Failed")
_RAW_NAMES: Final = {(f"{r.group}/{r.version}" if r.group else r.version, r.kind): str(r) for r in RAW_RESOURCES}
_FOREIGN_GROUPS: Final = frozenset(map(str, (KAI_POD_GROUPS, VOLCANO_POD_GROUPS, COSCHEDULING_POD_GROUPS)))
Key = tuple[str, str]


class Intake:
    """What is known. `stirred` rises whenever something happens that may let a refused gang fit."""

    def __init__(self, fleet: Fleet, names: frozenset[str]) -> None:
        self.fleet = fleet
        self.names = names
        self.stirred = 0
        self.supplied = 0
        """Rises whenever there may be more or less of something than before: nodes, devices."""
        self.claims: dict[ClaimKey, ResourceClaim] = {}
        self.queues: dict[str, Json] = {}
        """Queue objects by name."""
        self.queues_changed = True
        self.budgets: dict[Key, PodDisruptionBudget] = {}
        self.nodes: dict[str, Node] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._namespace_queues: dict[str, str] = {}
        self._storage = Storage({}, {}, {})
        self._rules: dict[str, DeviceTaintRule] = {}
        self._pod_groups: dict[Key, PodGroup] = {}
        self._composites: dict[Key, CompositePodGroup] = {}
        self._jobs: dict[Key, Job] = {}
        self._raw: dict[RawKey, Json] = {}
        self._priorities: dict[str, int] = {}
        self._follows_jobs = False
        self._observer = Observer()
        self._observed_epoch = self._observer.epoch
        self._context = Context(self.claims, self._namespaces, self._storage)
        self.gang_context = GangContext(
            pod_group=self._pod_groups.get,
            composite_pod_group=self._composites.get,
            job=self._jobs.get,
            knows_jobs=lambda: self._follows_jobs,
            raw=self._raw.get,
            priority=self._priorities.get,
            namespace_queue=lambda namespace: self._namespace_queues.get(namespace, ""),
        )
        self.roster = Roster(fleet, self.gang_context)
        self._users: dict[ClaimKey, dict[str, None]] = {}  # claim -> uids of pods that name it
        self._homeless: dict[str, dict[str, PodView]] = {}  # node that is not there -> pods bound to it
        self._home_of: dict[str, str] = {}  # the same by pod
        self._sees: dict[type, Callable[[Any], None]] = {
            Pod: self._see_pod,
            Node: self._see_node,
            ResourceClaim: self._see_claim,
            ResourceSlice: self._see_slice,
            DeviceClass: self._see_class,
            DeviceTaintRule: self._see_rule,
            Namespace: self._see_namespace,
            PriorityClass: self._see_priority_class,
            PodDisruptionBudget: lambda obj: self._put(self.budgets, obj),
            PersistentVolume: lambda obj: self._see_storage(self._storage.volumes, obj.metadata.name, obj),
            PersistentVolumeClaim: lambda obj: self._see_storage(self._storage.claims, _key(obj), obj),
            StorageClass: lambda obj: self._see_storage(self._storage.classes, obj.metadata.name, obj),
            PodGroup: lambda obj: self._see_group(self._pod_groups, obj),
            CompositePodGroup: lambda obj: self._see_group(self._composites, obj),
            Job: self._see_job,
        }
        self._loses: dict[type, Callable[[Any], None]] = {
            Pod: lambda obj: self._lose_pod(obj.metadata.uid),
            Node: self._lose_node,
            ResourceClaim: self._lose_claim,
            ResourceSlice: self._lose_slice,
            DeviceClass: self._lose_class,
            DeviceTaintRule: self._lose_rule,
            Namespace: self._lose_namespace,
            PriorityClass: lambda obj: _take(self._priorities, obj.metadata.name),
            PodDisruptionBudget: lambda obj: _take(self.budgets, _key(obj)),
            PersistentVolume: lambda obj: self._see_storage(self._storage.volumes, obj.metadata.name, None),
            PersistentVolumeClaim: lambda obj: self._see_storage(self._storage.claims, _key(obj), None),
            StorageClass: lambda obj: self._see_storage(self._storage.classes, obj.metadata.name, None),
            PodGroup: lambda obj: self._lose_group(self._pod_groups, obj),
            CompositePodGroup: lambda obj: self._lose_group(self._composites, obj),
            Job: self._lose_job,
        }

    def see(self, obj: Any) -> None:
        """An object is there, or is different. Raises TypeError for a kind that scheduling does not look at."""
        if isinstance(obj, Mapping):
            self._see_raw(obj)
            return
        handle = self._sees.get(type(obj))
        if handle is None:
            raise TypeError(f"the scheduler does not look at {type(obj).__name__} objects")
        handle(obj)

    def lose(self, obj: Any) -> None:
        """An object is gone."""
        if isinstance(obj, Mapping):
            self._lose_raw(obj)
            return
        handle = self._loses.get(type(obj))
        if handle is None:
            raise TypeError(f"the scheduler does not look at {type(obj).__name__} objects")
        handle(obj)

    def follow_jobs(self) -> None:
        """All Jobs are told of: pods of one that is not there yet wait for it, as it may say that they are a gang."""
        self._follows_jobs = True
        self.roster.rekey("")

    def settle(self) -> None:
        """Views that were made before something came that they depend on are made anew. Call before deciding."""
        while self._observed_epoch != self._observer.epoch:
            self._observed_epoch = self._observer.epoch
            for member in list(self.roster.members.values()):
                self._observe_again(member.pod)

    def is_ours(self, uid: str) -> bool:
        """Whether a pod is one that this scheduler places."""
        member = self.roster.members.get(uid)
        return member is not None and self._is_ours(member.pod)

    def _is_ours(self, pod: Pod) -> bool:
        return (pod.spec.scheduler_name or "default-scheduler") in self.names

    def take_back(self, uid: str) -> None:
        """A pod that was decided to stand somewhere does not."""
        self._leave(uid)
        self.roster.stranded.pop(uid, None)
        self.observe_again(uid)
        self.roster.touch_pod(uid)

    def observe_again(self, uid: str) -> None:
        """A pod that was thought to stand somewhere does not: what it lacks is looked up anew."""
        member = self.roster.members.get(uid)
        if member is not None:
            self._observe_again(member.pod)

    # Pods

    def _see_pod(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        is_done = pod.status.phase in _DONE
        if pod.spec.node_name:
            self._note_uses(pod)
            view = self._view(pod)
            if is_done:
                self._leave(uid)
            else:
                self._stand(view)
            self.roster.set(pod, view)
            return
        if not self._is_ours(pod) or is_done or pod.metadata.is_deleting:
            self._lose_pod(uid)
            return
        known = self.roster.members.get(uid)
        self._note_uses(pod)
        # What was decided stands until it is written, or is known not to be.
        is_decided = uid in self.fleet.pods or uid in self.roster.stranded
        view = known.view if known is not None and is_decided else self._view(pod)
        if known is not None and known.view == view and _is_described_alike(known.pod, pod):
            known.pod = pod
            return
        self.roster.set(pod, view)

    def _lose_pod(self, uid: str) -> None:
        self._forget_uses(uid)
        self._leave(uid)
        self.roster.drop(uid)

    def _view(self, pod: Pod) -> PodView:
        try:
            return self._observer.observe_pod(pod, self._context)
        except ValueError as error:
            meta = pod.metadata
            nothing = Shape(meta.namespace, {"pods": 1})
            return PodView(meta.namespace, meta.name, meta.uid, nothing, node=pod.spec.node_name, waits_for=str(error))

    def _observe_again(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        if pod.spec.node_name or not (uid in self.fleet.pods or uid in self.roster.stranded):
            self._see_pod(pod)

    def _stand(self, view: PodView) -> None:
        row = self.fleet.row_of.get(view.node)
        if row is None:
            self._leave(view.uid)
            self._note_homeless(view.node, view)
        else:
            self._note_home(view.uid)
            self.fleet.put(view, row)

    def _leave(self, uid: str) -> None:
        if self.fleet.lift(uid) is not None:
            self.stirred += 1
            return
        self.roster.stranded.pop(uid, None)
        self._note_home(uid)

    def _note_home(self, uid: str) -> None:
        """A pod is nowhere, or on a node that is there."""
        name = self._home_of.pop(uid, None)
        if name is not None:
            del self._homeless[name][uid]
            if not self._homeless[name]:
                del self._homeless[name]

    def _note_homeless(self, node: str, view: PodView) -> None:
        self._homeless.setdefault(node, {})[view.uid] = view
        self._home_of[view.uid] = node

    def _note_uses(self, pod: Pod) -> None:
        for name in claim_names(pod):
            self._users.setdefault((pod.metadata.namespace, name), {})[pod.metadata.uid] = None

    def _forget_uses(self, uid: str) -> None:
        member = self.roster.members.get(uid)
        if member is None:
            return
        for name in claim_names(member.pod):
            users = self._users.get((member.view.namespace, name))
            if users is not None:
                users.pop(uid, None)
                if not users:
                    del self._users[member.view.namespace, name]

    # Nodes

    def _see_node(self, node: Node) -> None:
        name = node.metadata.name
        self.nodes[name] = node
        view = observe_node(node)
        row = self.fleet.row_of.get(name)
        before = self.fleet.nodes[row] if row is not None else None
        if before is not None and _is_alike(before, view):
            return
        row = self.fleet.set_node(view)
        self._supply_changed()
        for pod in self._homeless.pop(name, {}).values():
            self.fleet.put(pod, row)
            self._home_of.pop(pod.uid, None)
            self.roster.stranded.pop(pod.uid, None)

    def _lose_node(self, node: Node) -> None:
        name = node.metadata.name
        self.nodes.pop(name, None)
        row = self.fleet.row_of.get(name)
        if row is None:
            return
        for uid, standing in list(self.fleet.on[row].items()):
            self.fleet.lift(uid)
            if is_stand_in(standing.pod):
                continue
            self._note_homeless(name, standing.pod)
            if not standing.pod.node:
                # It was decided, and is being bound to where nothing is: until that has ended it is not decided anew.
                self.roster.stranded[uid] = name
        self.fleet.remove_node(name)
        self._supply_changed()

    # Devices

    def _see_slice(self, slice_: ResourceSlice) -> None:
        self.fleet.devices.set_slice(slice_)
        self._supply_changed()

    def _lose_slice(self, slice_: ResourceSlice) -> None:
        self.fleet.devices.remove_slice(slice_.metadata.name)
        self._supply_changed()

    def _see_class(self, device_class: DeviceClass) -> None:
        self.fleet.devices.set_class(device_class)
        self._supply_changed()

    def _lose_class(self, device_class: DeviceClass) -> None:
        self.fleet.devices.remove_class(device_class.metadata.name)
        self._supply_changed()

    def _see_rule(self, rule: DeviceTaintRule) -> None:
        self._rules[rule.metadata.name] = rule
        self.fleet.devices.set_rules(self._rules.values())
        self._supply_changed()

    def _lose_rule(self, rule: DeviceTaintRule) -> None:
        if self._rules.pop(rule.metadata.name, None) is not None:
            self.fleet.devices.set_rules(self._rules.values())
            self._supply_changed()

    def _see_claim(self, claim: ResourceClaim) -> None:
        key = _key(claim)
        before = self.claims.get(key)
        self.claims[key] = claim
        state = self.fleet.claims.get(key)
        is_decided = state is not None and state.allocation is not None
        self.fleet.set_claim(claim)
        had = before is not None and before.status.allocation is not None
        has = claim.status.allocation is not None
        if (had and not has) or (has and not is_decided):
            # Devices are free again, or somebody else has found some for it.
            self.stirred += 1
        if before is None:
            self._look_again(key)
        elif had != has or before.metadata.is_deleting != claim.metadata.is_deleting:
            self._look_again(key, waiting=True)

    def _lose_claim(self, claim: ResourceClaim) -> None:
        key = _key(claim)
        if self.claims.pop(key, None) is not None:
            self.fleet.remove_claim(key)
            self.stirred += 1
            self._look_again(key)

    def _look_again(self, key: ClaimKey, *, waiting: bool = False) -> None:
        """Pods that name a claim are looked at again: all, as what they hold counts, or those without a node."""
        for uid in list(self._users.get(key, ())):
            member = self.roster.members.get(uid)
            if member is not None and not (waiting and member.pod.spec.node_name):
                self._observe_again(member.pod)

    def _supply_changed(self) -> None:
        self.stirred += 1
        self.supplied += 1

    # What pods refer to

    def _see_namespace(self, namespace: Namespace) -> None:
        name, meta = namespace.metadata.name, namespace.metadata
        queue = meta.annotations.get(QUEUE, "") or meta.labels.get(QUEUE, "")
        if self._namespace_queues.get(name, "") != queue:
            self._namespace_queues[name] = queue
            self.roster.touch_namespace(name)
        before = self._namespaces.get(name)
        self._namespaces[name] = dict(meta.labels)
        if before != meta.labels and self._observer.selects_namespaces:
            self._observer.forget()

    def _lose_namespace(self, namespace: Namespace) -> None:
        name = namespace.metadata.name
        if self._namespace_queues.pop(name, ""):
            self.roster.touch_namespace(name)
        if self._namespaces.pop(name, None) is not None and self._observer.selects_namespaces:
            self._observer.forget()

    def _see_priority_class(self, priority: PriorityClass) -> None:
        value = priority.value or 0
        if self._priorities.get(priority.metadata.name) != value:
            self._priorities[priority.metadata.name] = value
            self.roster.touch_groups()

    def _see_storage(self, into: Any, key: Any, obj: Any) -> None:
        """Volumes, their claims and classes change seldom: all pods with volumes that have no node are looked at."""
        if obj is None:
            into.pop(key, None)
        else:
            into[key] = obj
        self.stirred += 1
        for member in list(self.roster.members.values()):
            if member.pod.spec.volumes and not member.pod.spec.node_name:
                self._observe_again(member.pod)

    # What describes gangs and queues

    def _see_group(self, into: dict[Key, Any], group: Any) -> None:
        before = into.get(_key(group))
        into[_key(group)] = group
        if before is None or before.spec != group.spec or _claims_of(before) != _claims_of(group):
            self.stirred += 1
            self._rekey_group(group)

    def _lose_group(self, into: dict[Key, Any], group: Any) -> None:
        if into.pop(_key(group), None) is not None:
            self._rekey_group(group)

    def _rekey_group(self, group: Any) -> None:
        """Pods name their PodGroup; what is above that may change the gang of any in the namespace."""
        if isinstance(group, PodGroup):
            self.roster.rekey_naming(*_key(group))
        else:
            self.roster.rekey(group.metadata.namespace)

    def _see_job(self, job: Job) -> None:
        key = _key(job)
        before = self._jobs.get(key)
        self._jobs[key] = job
        if before is None or not _is_job_alike(before, job):
            self.roster.rekey_naming("", job.metadata.uid)

    def _lose_job(self, job: Job) -> None:
        if self._jobs.pop(_key(job), None) is not None:
            self.roster.rekey_naming("", job.metadata.uid)

    def _see_raw(self, obj: Json) -> None:
        version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
        meta = obj["metadata"]
        if kind == "Queue" and version.startswith("fairlead.dev/"):
            before = self.queues.get(meta["name"])
            self.queues[meta["name"]] = obj
            if before is None or before.get("spec") != obj.get("spec"):
                self.queues_changed = True
                self.stirred += 1
            return
        resource = _RAW_NAMES.get((version, kind))
        if resource is None:
            raise TypeError(f"the scheduler does not look at {kind} objects of {version}")
        key = (resource, meta.get("namespace", ""), meta["name"])
        before = self._raw.get(key)
        self._raw[key] = obj
        if before is None or before.get("spec") != obj.get("spec"):
            self.stirred += 1
            self._rekey_raw(*key)

    def _lose_raw(self, obj: Json) -> None:
        version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
        meta = obj["metadata"]
        if kind == "Queue" and version.startswith("fairlead.dev/"):
            _take(self.queues, meta["name"])
            self.queues_changed = True
            self.stirred += 1
            return
        resource = _RAW_NAMES.get((version, kind))
        if resource is not None:
            key = (resource, meta.get("namespace", ""), meta["name"])
            _take(self._raw, key)
            self._rekey_raw(*key)

    def _rekey_raw(self, resource: str, namespace: str, name: str) -> None:
        """Groups of other schedulers are named by their pods: who belongs to them does not depend on them."""
        if resource in _FOREIGN_GROUPS:
            self.roster.touch_named((kai.KIND, volcano.KIND, coscheduling.KIND), namespace, name)
        else:
            self.roster.rekey(namespace)

    def _put(self, into: dict[Key, Any], obj: Any) -> None:
        into[_key(obj)] = obj


def _key(obj: Any) -> Key:
    return obj.metadata.namespace, obj.metadata.name


def _take(mapping: dict[Any, Any], key: Any) -> None:
    mapping.pop(key, None)


def _is_job_alike(one: Job, other: Job) -> bool:
    """Whether a Job says the same of a gang: how many go together depends on how many are still to run, too."""
    return (
        one.spec == other.spec
        and one.metadata.annotations == other.metadata.annotations
        and one.status.succeeded == other.status.succeeded
    )


def _claims_of(group: PodGroup | CompositePodGroup) -> Mapping[str, str]:
    """The claims that a PodGroup shares, which its status names once they are made."""
    return group_claims(group) if isinstance(group, PodGroup) else {}


def _is_described_alike(one: Pod, other: Pod) -> bool:
    """Whether what says to which gang a pod belongs is the same, beside its labels."""
    old, new = one.metadata, other.metadata
    return old.annotations == new.annotations and old.owner_references == new.owner_references


def _is_alike(one: NodeView, other: NodeView) -> bool:
    """Whether a node is the same for every decision: heartbeats change nothing."""
    return (
        one.allocatable == other.allocatable
        and one.labels == other.labels
        and one.taints == other.taints
        and one.unschedulable == other.unschedulable
        and one.images == other.images
        and one.annotations == other.annotations
    )
