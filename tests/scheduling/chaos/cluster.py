"""A cluster that never rests: what its people, kubelets, drivers and controllers do, one random act at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from fairlead.clock import format_time
from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceTaint, ResourceClaim, ResourceClaimStatus, ResourceSlice
from fairlead.kube.objects.nodes import Taint
from fairlead.kube.objects.pods import PodResourceClaimStatus
from scheduling.chaos import objects
from scheduling.chaos.objects import GPU, NIC, RACK, ZONE, device
from scheduling.chaos.truth import Truth, key_of
from scheduling.chaos.workloads import Fact, Made, Workshop

DONE: Final = ("Succeeded", "Failed")


def is_done(pod: Pod) -> bool:
    return pod.status.phase in DONE


@dataclass(frozen=True)
class Profile:
    """What there is in a cluster, and how much of it."""

    nodes: int = 6
    pods: int = 40
    devices: bool = True
    queues: bool = True


@dataclass
class Cluster:
    """Truth, and who changes it. The scheduler's own writes are in `writes`."""

    dice: random.Random
    profile: Profile
    now_s: float = 1_800_000_000.0
    truth: Truth = field(default_factory=Truth)
    facts: dict[str, Fact] = field(default_factory=dict)
    """Pod uid -> its gang."""
    wanted_claims: dict[str, Any] = field(default_factory=dict)
    """Pod uid -> devices of the claim to be made for it."""
    unmade: list[Pod] = field(default_factory=list)
    """Pods that their controllers have yet to make."""

    def __post_init__(self) -> None:
        self.workshop = Workshop(self.dice)
        self._acts: list[tuple[float, Callable[[], None]]] = [
            (16, self.submit), (6, self.make_rest), (16, self.make_claim), (10, self.run), (16, self.end_pod),
            (20, self.remove_pod), (18, self.release_claims), (2, self.change_node), (1, self.swap_node),
            (3, self.time), (1, self.ungate), (1, self.foreign_pod), (1, self.annotate), (1, self.budget),
            (0.5, self.namespace), (0.4, self.lose_description),
        ]  # fmt: skip
        if self.profile.devices:
            self._acts += [(4, self.publish), (1, self.rule), (0.3, self.device_class), (1, self.delete_claim)]
        if self.profile.queues:
            self._acts += [(1.5, self.queue)]

    def start(self) -> None:
        for i in range(self.profile.nodes):
            self._add_node(f"n{i}")
        if self.profile.devices:
            for driver in (GPU, NIC):
                self.truth.put(objects.device_class(driver))
            self._publish_nics(1)
        self.truth.put(objects.namespace("default", {}))

    def act(self) -> None:
        """One random thing."""
        weights, acts = zip(*self._acts, strict=True)
        self.dice.choices(acts, weights)[0]()

    # Workloads

    def pods(self, condition: Callable[[Pod], bool] = lambda pod: True) -> list[Pod]:
        return [pod for pod in self.truth.all("Pod") if condition(pod)]

    def submit(self) -> None:
        pods = self.pods()
        if len(pods) >= self.profile.pods:
            return
        taken = {self.facts[pod.metadata.uid].name for pod in (*pods, *self.unmade) if pod.metadata.uid in self.facts}
        taken |= {key[2].removesuffix("-shared") for key in self.truth.objects if key[0] in ("ResourceClaim", "Job")}
        taken |= {key[2] for key in self.truth.objects if key[0].endswith(("PodGroup", "LeaderWorkerSet"))}
        self._enter(self.workshop.make(self.now_s, taken, devices=self.profile.devices))

    def _enter(self, made: Made) -> None:
        self.wanted_claims.update(made.claims)
        for pod in made.pods:
            self.facts[pod.metadata.uid] = made.fact
        for obj in made.others:
            self.truth.put(obj)
            if key_of(obj)[0] != "ResourceClaim":
                made.fact.described_by[key_of(obj)] = obj
        self.unmade.extend(made.pods)
        self.make_rest()

    def make_rest(self) -> None:
        """Some of what controllers have yet to make."""
        for _ in range(self.dice.randint(1, 6)):
            if self.unmade:
                pod = self.unmade.pop(0)
                if self.truth.get("Pod", pod.metadata.name, "default") is None:
                    self.truth.put(pod)

    def make_claim(self) -> None:
        """The claim controller gives a pod its claim, then says so in the pod's status."""
        for pod in self.pods(lambda pod: pod.metadata.uid in self.wanted_claims and not pod.metadata.is_deleting):
            uid = pod.metadata.uid
            name = f"{pod.metadata.name}-own-{uid}"
            if self.truth.get("ResourceClaim", name, "default") is None:
                self.truth.put(objects.claim(name, self.workshop.uid(), self.wanted_claims[uid], pod))
            if self.dice.random() < 0.2:
                return
            del self.wanted_claims[uid]
            made = PodResourceClaimStatus(name="own", resource_claim_name=name)
            self.truth.edit(pod, status={"resource_claim_statuses": (made,)})
            if self.dice.random() < 0.3:
                return

    def run(self) -> None:
        for pod in self.pods(lambda pod: bool(pod.spec.node_name) and pod.status.phase == "Pending"):
            self.truth.edit(pod, status={"phase": "Running", "start_time": format_time(self.now_s)})
            if self.dice.random() < 0.5:
                return

    def end_pod(self) -> None:
        """A pod succeeds, fails, or somebody deletes it, or all of its gang."""
        pods = self.pods(lambda pod: not pod.metadata.is_deleting)
        if not pods:
            return
        chosen = self.dice.choice(pods)
        if chosen.status.phase == "Running" and self.dice.random() < 0.4:
            self.truth.edit(chosen, status={"phase": self.dice.choice(DONE)})
            return
        fact = self.facts.get(chosen.metadata.uid)
        together = self.dice.random() < 0.7
        for pod in pods:
            if pod is chosen or (together and fact is not None and self.facts.get(pod.metadata.uid) is fact):
                self.delete(pod)

    def delete(self, pod: Pod) -> None:
        """A pod that runs has time to end."""
        if pod.spec.node_name and not is_done(pod) and self.dice.random() < 0.8:
            self.truth.edit(pod, metadata={"deletion_timestamp": format_time(self.now_s)})
        else:
            self._remove(pod)

    def remove_pod(self) -> None:
        """Kubelets see the last of pods that are being deleted; done ones are cleaned up."""
        for pod in self.pods(lambda pod: pod.metadata.is_deleting or is_done(pod)):
            if pod.metadata.is_deleting or self.dice.random() < 0.3:
                self._remove(pod)
            if self.dice.random() < 0.3:
                return

    def _remove(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        self.truth.drop(("Pod", pod.metadata.namespace, pod.metadata.name))
        self.wanted_claims.pop(uid, None)
        fact = self.facts.get(uid)
        left = [p for p in (*self.truth.all("Pod"), *self.unmade) if self.facts.get(p.metadata.uid) is fact]
        if fact is not None and not left:
            for key in list(self.truth.objects):
                is_description = key[0].endswith(("PodGroup", "LeaderWorkerSet", "Job")) and key[2] == fact.name
                if is_description:
                    self.truth.drop(key)
                elif key[0] == "ResourceClaim" and key[2] == f"{fact.name}-shared":
                    self._delete_claim(self.truth.objects[key])

    def release_claims(self) -> None:
        """The claim controller: consumers that are gone or done are struck out, what nobody uses is freed."""
        pods = {pod.metadata.uid: pod for pod in self.pods()}
        for claim in self.truth.all("ResourceClaim"):
            owners = [owner.uid for owner in claim.metadata.owner_references]
            if owners and owners[0] not in pods and not claim.metadata.is_deleting:
                self._delete_claim(claim)
                continue
            kept = tuple(c for c in claim.status.reserved_for if c.uid in pods and not is_done(pods[c.uid]))
            if len(kept) == len(claim.status.reserved_for) and (kept or claim.status.allocation is None):
                continue
            if kept or self.dice.random() < 0.2:
                self.truth.edit(claim, status={"reserved_for": kept})
            elif claim.status.reserved_for or self.dice.random() < 0.5:
                self._free(claim)
            if self.dice.random() < 0.3:
                return

    def _free(self, claim: ResourceClaim) -> None:
        if claim.metadata.is_deleting:
            self.truth.drop(("ResourceClaim", claim.metadata.namespace, claim.metadata.name))
        else:
            self.truth.put(replace(claim, status=ResourceClaimStatus()))

    def _delete_claim(self, claim: ResourceClaim) -> None:
        if claim.status.allocation is None:
            self.truth.drop(("ResourceClaim", claim.metadata.namespace, claim.metadata.name))
        elif not claim.metadata.is_deleting:
            self.truth.edit(claim, metadata={"deletion_timestamp": format_time(self.now_s)})

    def delete_claim(self) -> None:
        claims = self.truth.all("ResourceClaim")
        if claims:
            self._delete_claim(self.dice.choice(claims))

    def ungate(self) -> None:
        for pod in self.pods(lambda pod: bool(pod.spec.scheduling_gates)):
            self.truth.edit(pod, spec={"scheduling_gates": ()})

    def annotate(self) -> None:
        """Labels and annotations of pods change while they wait and while they run."""
        pods = self.pods()
        if pods:
            pod = self.dice.choice(pods)
            key = self.dice.choice(["fairlead.dev/progress", "example.com/note"])
            annotations = {**pod.metadata.annotations, key: str(self.dice.random())}
            labels = {**pod.metadata.labels, "app": self.dice.choice("ab")} if self.dice.random() < 0.3 else None
            self.truth.edit(pod, metadata={"annotations": annotations, **({"labels": labels} if labels else {})})

    def foreign_pod(self) -> None:
        """A pod that another scheduler has put on a node, which may be full, or not there."""
        name = f"theirs{self.dice.randrange(4)}"
        if self.truth.get("Pod", name, "default") is None:
            pod = objects.pod(
                name, self.workshop.uid(), created=format_time(self.now_s), cpu="2", scheduler="default-scheduler",
                nodeName=f"n{self.dice.randrange(self.profile.nodes + 1)}", labels={"app": "a"},
            )  # fmt: skip
            self.truth.put(pod)

    def lose_description(self) -> None:
        """The object that describes a gang is deleted while its pods stay."""
        keys = [key for key in self.truth.objects if key[0].endswith(("PodGroup", "LeaderWorkerSet"))]
        if keys:
            self.truth.drop(self.dice.choice(keys))

    # Nodes

    def _add_node(self, name: str) -> None:
        labels = {RACK: f"r{self.dice.randrange(3)}", ZONE: f"z{self.dice.randrange(2)}"}
        if self.dice.random() < 0.1:
            del labels[RACK]
        self.truth.put(objects.node(name, self.workshop.uid(), labels, self.dice.choice([4, 6, 8])))
        if self.profile.devices:
            self._publish(name)

    def change_node(self) -> None:
        nodes: list[Node] = self.truth.all("Node")
        if not nodes:
            return
        node, dice = self.dice.choice(nodes), self.dice
        match dice.randrange(6):
            case 0:
                self.truth.edit(node, spec={"unschedulable": not node.spec.unschedulable})
            case 1 | 2:
                taints = (
                    () if node.spec.taints else (Taint(key="sick", effect=dice.choice(["NoSchedule", "NoExecute"])),)
                )
                self.truth.edit(node, spec={"taints": taints})
            case 3:
                labels = {**node.metadata.labels, RACK: f"r{dice.randrange(3)}", ZONE: f"z{dice.randrange(2)}"}
                self.truth.edit(node, metadata={"labels": labels})
            case 4:
                amounts = {**node.status.allocatable, "cpu": str(dice.choice([3, 4, 6, 8]))}
                self.truth.edit(node, status={"allocatable": amounts})
            case _:
                self.truth.edit(node, metadata={"resource_version": str(dice.random())})

    def swap_node(self) -> None:
        """A node goes, or comes back as another."""
        name = f"n{self.dice.randrange(self.profile.nodes)}"
        node = self.truth.get("Node", name)
        if node is None:
            self._add_node(name)
            return
        self.truth.drop(("Node", "", name))
        if self.dice.random() < 0.5:
            for slice_ in self.truth.all("ResourceSlice"):
                if slice_.spec.node_name == name:
                    self.truth.drop(("ResourceSlice", "", slice_.metadata.name))
        if self.dice.random() < 0.5:
            for pod in self.pods(lambda pod: pod.spec.node_name == name):
                self._remove(pod)

    # Devices

    def publish(self) -> None:
        """A driver has something new to say about a node, or takes it all back."""
        dice = self.dice
        if dice.random() < 0.1:
            self._publish_nics(dice.randint(2, 1000))
            return
        nodes = self.truth.all("Node")
        if not nodes:
            return
        name = dice.choice(nodes).metadata.name
        slices: list[ResourceSlice] = [s for s in self.truth.all("ResourceSlice") if s.spec.node_name == name]
        if slices and dice.random() < 0.1:
            self.truth.drop(("ResourceSlice", "", dice.choice(slices).metadata.name))
        elif slices and dice.random() < 0.6:
            self._taint(dice.choice(slices))
        else:
            self._publish(name, max((s.spec.pool.generation for s in slices if s.spec.pool), default=0) + 1)

    def _taint(self, slice_: ResourceSlice) -> None:
        """Taints come and go without a new generation."""
        devices = list(slice_.spec.devices)
        if not devices:
            return
        at = self.dice.randrange(len(devices))
        effect = self.dice.choice(["NoSchedule", "NoExecute"])
        taints = () if devices[at].taints else (DeviceTaint(key="fault", effect=effect),)
        devices[at] = replace(devices[at], taints=taints)
        self.truth.edit(slice_, spec={"devices": tuple(devices)})

    def _publish(self, node: str, generation: int = 1) -> None:
        """What a node has follows from its name; now and then a device is missing."""
        dice, number = self.dice, int(node[1:])
        devices = [
            device(f"card{i}", "card", attributes={"numa": {"int": i // 2}}) for i in range(4 if number % 2 else 2)
        ]
        counters: list[Any] = []
        if number % 3 != 1:
            counters = [{"name": "die", "counters": {"slices": {"value": "8"}}}]
            devices += [_cut("whole", "whole", 8), _cut("half0", "half", 4), _cut("half1", "half", 4)]
            devices += [_cut(f"quarter{i}", "quarter", 2) for i in range(4)]
        if number % 3 != 0:
            policy = {"default": "10Gi", "validRange": {"min": "1Gi", "step": "1Gi"}}
            capacity = {"memory": {"value": "40Gi", "requestPolicy": policy}}
            devices.append(device("shared", "shared", allowMultipleAllocations=True, capacity=capacity))
        if dice.random() < 0.3:
            devices.pop(dice.randrange(len(devices)))
        cut = dice.randint(1, len(devices) - 1)
        parts: list[tuple[str, dict[str, Any]]] = [
            ("a", {"devices": devices[:cut]}), ("b", {"devices": devices[cut:]})
        ]  # fmt: skip
        if counters:
            parts.append(("c", {"devices": [], "sharedCounters": counters}))
        for suffix, spec in parts:
            self.truth.put(objects.slice_of(f"{node}-{suffix}", node, generation, len(parts), nodeName=node, **spec))

    def _publish_nics(self, generation: int) -> None:
        devices = [device(f"nic{i}", "nic", NIC, nodeSelector=_zone(f"z{i % 2}")) for i in range(3)]
        devices.append(device("nic-all", "nic", NIC, allNodes=True))
        self.truth.put(objects.slice_of("nics", "fabric", generation, 1, devices, NIC, perDeviceNodeSelection=True))

    def rule(self) -> None:
        name = f"rule{self.dice.randrange(2)}"
        if self.truth.get("DeviceTaintRule", name) is not None:
            self.truth.drop(("DeviceTaintRule", "", name))
        else:
            pool = f"n{self.dice.randrange(self.profile.nodes)}"
            effect = self.dice.choice(["NoSchedule", "NoExecute"])
            self.truth.put(objects.taint_rule(name, pool, self.dice.choice(["card0", "whole", "shared"]), effect))

    def device_class(self) -> None:
        driver = self.dice.choice([GPU, NIC])
        if self.truth.get("DeviceClass", driver) is not None:
            self.truth.drop(("DeviceClass", "", driver))
        else:
            self.truth.put(objects.device_class(driver))

    # What else there is

    def time(self) -> None:
        """Time goes on; clocks are set, too."""
        self.now_s += self.dice.choice([0.01, 0.3, 1.0, 2.0, 15.0, 200.0])
        if self.dice.random() < 0.03:
            self.now_s += self.dice.choice([-3600.0, -5.0, 7200.0])

    def queue(self) -> None:
        dice, name = self.dice, self.dice.choice(["qa", "qb", "q-root", "q-c", "qd"])
        if self.truth.objects.get(("fairlead.dev/v1alpha1/Queue", "", name)) is not None and dice.random() < 0.3:
            self.truth.drop(("fairlead.dev/v1alpha1/Queue", "", name))
            return
        resources: dict[str, Any] = {}
        for resource, amounts in (("cpu", ["2", "6", "20"]), (objects.DEVICES, ["1", "4", "10"])):
            if dice.random() < 0.6:
                resources[resource] = {"quota": dice.choice(amounts), "overQuotaWeight": dice.choice([0, 1, 2])}
            if dice.random() < 0.4:
                resources.setdefault(resource, {})["limit"] = dice.choice(amounts)
        spec: dict[str, Any] = {"resources": resources, "priority": dice.choice([0, 0, 5])}
        if name == "q-c":
            spec["parent"] = "q-root"
        if dice.random() < 0.3:
            spec[dice.choice(["reclaimMinRuntimeSeconds", "preemptMinRuntimeSeconds"])] = dice.choice([0, 60, 1000])
        if dice.random() < 0.1:
            spec["parent"] = dice.choice([name, "nowhere", "qa"])
        if dice.random() < 0.05:
            spec["resources"] = {"cpu": {"quota": "nonsense"}}
        self.truth.put(objects.queue(name, spec))

    def budget(self) -> None:
        name = self.dice.choice(["pdb-a", "pdb-b"])
        if self.truth.get("PodDisruptionBudget", name, "default") is not None and self.dice.random() < 0.3:
            self.truth.drop(("PodDisruptionBudget", "default", name))
        else:
            self.truth.put(
                objects.budget(name, name[-1], self.dice.choice([0, 1, 1, 2, 5]), 2, self.dice.choice([1, 2, 2]))
            )

    def namespace(self) -> None:
        labels = self.dice.choice([{}, {objects.QUEUE: "qa"}, {objects.QUEUE: "qb"}])
        if self.dice.random() < 0.2:
            self.truth.drop(("Namespace", "", "default"))
        else:
            self.truth.put(objects.namespace("default", labels))


def _cut(name: str, kind: str, slices: int) -> dict[str, Any]:
    consumes = [{"counterSet": "die", "counters": {"slices": {"value": str(slices)}}}]
    return device(name, kind, consumesCounters=consumes)


def _zone(zone: str) -> dict[str, Any]:
    return {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]}
