"""Pods and gangs at random, from every source of gangs, and what each of them asks for in plain words."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.clock import format_time
from fairlead.kube.objects import Pod
from scheduling.chaos import objects
from scheduling.chaos.objects import HOST, QUEUE, RACK, ZONE, request
from scheduling.chaos.truth import Key


@dataclass
class Part:
    """A group of a gang as its owner meant it."""

    minimum: int
    levels: tuple[str, ...] = ()


@dataclass
class Fact:
    """A gang as its owner meant it. What the API objects say is the same in another form."""

    name: str
    minimum: int
    levels: tuple[str, ...] = ()
    whole: bool = False
    """Whether it is evicted as a whole only."""
    preemptible: bool = True
    parts: dict[str, Part] = field(default_factory=dict)
    part_of: dict[str, str] = field(default_factory=dict)
    """Pod uid -> group."""
    is_single: bool = False
    queue: str = ""
    described_by: dict[Key, Any] = field(default_factory=dict)
    """The objects that describe it, as they were made."""


@dataclass
class Made:
    """Objects that come into being, and what they are."""

    fact: Fact
    pods: list[Pod]
    others: list[Any] = field(default_factory=list)
    """What describes the gang, and claims that it shares."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Pod uid -> devices of the claim that the claim controller makes for it."""


_REQUESTS: Final[tuple[tuple[str, Callable[[random.Random], dict[str, Any]]], ...]] = (
    ("cards", lambda dice: {"requests": [request("card", dice.choice([1, 1, 1, 2, 3, 4]))]}),
    ("pair", lambda dice: {"requests": [request("card", 2)], "constraints": [_match("numa")]}),
    ("apart", lambda dice: {"requests": [request("card", 2)], "constraints": [_distinct("numa")]}),
    ("part", lambda dice: {"requests": [request(dice.choice(["whole", "half", "quarter"]), dice.choice([1, 1, 2]))]}),
    ("share", lambda dice: {"requests": [request("shared", capacity=dice.choice(["8Gi", "10Gi", "20Gi", "40Gi"]))]}),
    ("nic", lambda dice: {"requests": [request("nic"), request("card", name="g")]}),
    ("all", lambda dice: {"requests": [request("card", mode="All")]}),
    ("admin", lambda dice: {"requests": [request("card", admin=True)]}),
    ("either", lambda dice: {"requests": [_either()]}),
)  # fmt: skip


def _match(attribute: str) -> dict[str, Any]:
    return {"matchAttribute": f"{objects.GPU}/{attribute}"}


def _distinct(attribute: str) -> dict[str, Any]:
    return {"distinctAttribute": f"{objects.GPU}/{attribute}"}


def _either() -> dict[str, Any]:
    """Two cards, or else half of one that can be cut."""
    first = {**request("card", 2)["exactly"], "name": "two"}
    return {"name": "r", "firstAvailable": [first, {**request("half", 1)["exactly"], "name": "half"}]}


def devices_of(dice: random.Random) -> dict[str, Any]:
    weights = [8, 3, 1, 5, 4, 3, 1, 1, 2]
    return dice.choices(_REQUESTS, weights)[0][1](dice)


class Workshop:
    """Makes workloads. Every pod has a uid of its own; names come again after a while."""

    def __init__(self, dice: random.Random, names: int = 12) -> None:
        self.dice = dice
        self._names = names
        self._count = 0

    def uid(self) -> str:
        self._count += 1
        return f"u{self._count}"

    def make(self, now_s: float, taken: set[str], *, devices: bool) -> Made:
        """A workload whose names are not among `taken`."""
        dice = self.dice
        number = dice.randrange(self._names)
        while f"w{number}" in taken:
            number += 1
        name = f"w{number}"
        if dice.random() < 0.5:
            return self._single(name, now_s, devices)
        source = dice.choice(
            [self._own, self._own, self._nested, self._pod_group, self._lws, self._job, self._coscheduling]
            + [self._kai, self._volcano, self._kueue]
        )
        return source(name, now_s, devices)

    def _common(self, now_s: float) -> dict[str, Any]:
        """What the pods of a workload share."""
        dice = self.dice
        common: dict[str, Any] = {"created": format_time(now_s), "cpu": dice.choice(["500m", "1", "1", "2", "3"])}
        labels = {"app": dice.choice("ab")}
        if dice.random() < 0.6:
            labels[QUEUE] = dice.choice(["qa", "qb", "q-c", "missing", "qd"])
        if dice.random() < 0.15:
            labels["fairlead.dev/work"] = dice.choice(["serving", "batch"])
        common["labels"] = labels
        common["priority"] = dice.choice([0, 0, 0, 10, 100])
        if dice.random() < 0.1:
            common["nodeSelector"] = {ZONE: dice.choice(["z0", "z1"])}
        if dice.random() < 0.2:
            common["tolerations"] = [{"key": "sick", "operator": "Exists"}]
        if dice.random() < 0.05:
            common["preemptionPolicy"] = "Never"
        if dice.random() < 0.08:
            term = {"labelSelector": {"matchLabels": {"app": labels["app"]}}, "topologyKey": dice.choice([HOST, RACK])}
            kind = dice.choice(["podAntiAffinity", "podAntiAffinity", "podAffinity"])
            common["affinity"] = {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        if dice.random() < 0.08:
            common["topologySpreadConstraints"] = [
                {
                    "maxSkew": dice.choice([1, 2]), "topologyKey": dice.choice([HOST, ZONE]),
                    "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": labels["app"]}},
                }
            ]  # fmt: skip
        return common

    def _pod(self, made: Made, name: str, common: dict[str, Any], devices: Any, **extra: Any) -> Pod:
        labels = {**common["labels"], **extra.pop("labels", {})}
        uid = self.uid()
        if devices:
            made.claims[uid] = devices
            extra["resourceClaims"] = [
                {"name": "own", "resourceClaimTemplateName": "t"}, *extra.get("resourceClaims", ()),
            ]  # fmt: skip
        pod = objects.pod(name, uid, **{**common, **extra, "labels": labels})
        made.pods.append(pod)
        made.fact.queue = labels.get(QUEUE, "")
        return pod

    def _single(self, name: str, now_s: float, devices: bool) -> Made:
        dice, common = self.dice, self._common(now_s)
        made = Made(Fact(name, 1, is_single=True), [])
        if dice.random() < 0.08:
            common["host_port"] = dice.choice([80, 81])
        if dice.random() < 0.05:
            common["schedulingGates"] = [{"name": "example.com/gate"}]
        if dice.random() < 0.03:
            common["owner"] = {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": "d",
                "uid": "d",
                "controller": True,
            }
        if dice.random() < 0.02:
            common["cpu"] = "nonsense"
        if devices and dice.random() < 0.2:
            shared = objects.claim(f"{name}-shared", self.uid(), devices_of(dice))
            made.others.append(shared)
            common["resourceClaims"] = [{"name": "shared", "resourceClaimName": shared.metadata.name}]
            # More than one pod may use it, each of them by itself.
            for i in range(dice.randint(1, 3)):
                self._pod(made, name if i == 0 else f"{name}-also{i}", common, None)
            return made
        self._pod(made, name, common, devices_of(dice) if devices and dice.random() < 0.6 else None)
        return made

    def _gang(self, made: Made, name: str, now_s: float, devices: bool, size: int, **extra: Any) -> Made:
        """Pods that are alike, but for what a function in `extra` says of each by its number."""
        dice, common = self.dice, self._common(now_s)
        wanted = devices_of(dice) if devices and dice.random() < 0.6 else None
        each = extra.pop("each", None)
        common["labels"] = {**common["labels"], **extra.pop("labels", {})}
        if devices and dice.random() < 0.15:
            shared = objects.claim(f"{name}-shared", self.uid(), devices_of(dice))
            made.others.append(shared)
            extra["resourceClaims"] = [{"name": "shared", "resourceClaimName": shared.metadata.name}]
        for i in range(size):
            more = each(i) if each else {}
            part = more.pop("part", "")
            pod = self._pod(made, f"{name}-{i}", {**common, **extra}, wanted, **more)
            if part:
                made.fact.part_of[pod.metadata.uid] = part
        return made

    def _level(self) -> str:
        return self.dice.choice(["", "", RACK, ZONE, HOST])

    def _own(self, name: str, now_s: float, devices: bool) -> Made:
        size, level = self.dice.randint(2, 6), self._level()
        minimum = self.dice.choice([size, size, max(1, size - 2)])
        spec: dict[str, Any] = {"min": minimum}
        if level:
            spec["topology"] = {"required": level}
        whole = self.dice.random() < 0.2
        if whole:
            spec["disruption"] = "all"
        made = Made(Fact(name, minimum, (level,) if level else (), whole), [])
        return self._gang(
            made, name, now_s, devices, size, labels={"fairlead.dev/gang": name},
            annotations={"fairlead.dev/gang-spec": json.dumps(spec)},
        )  # fmt: skip

    def _nested(self, name: str, now_s: float, devices: bool) -> Made:
        parts = {
            part: Part(self.dice.randint(1, 2), (level,) if (level := self._level()) else ())
            for part in ("prefill", "decode")
        }
        groups = [
            {"name": part, "min": one.minimum, **({"topology": {"required": one.levels[0]}} if one.levels else {})}
            for part, one in parts.items()
        ]
        level = self.dice.choice(["", ZONE])
        spec: dict[str, Any] = {"groups": groups, **({"topology": {"required": level}} if level else {})}
        made = Made(Fact(name, sum(p.minimum for p in parts.values()), (level,) if level else (), parts=parts), [])
        members = [part for part, one in parts.items() for _ in range(one.minimum + self.dice.randint(0, 1))]
        return self._gang(
            made, name, now_s, devices, len(members), labels={"fairlead.dev/gang": name},
            annotations={"fairlead.dev/gang-spec": json.dumps(spec)},
            each=lambda i: {"part": members[i], "labels": {"fairlead.dev/group": members[i]}},
        )  # fmt: skip

    def _pod_group(self, name: str, now_s: float, devices: bool) -> Made:
        size, level, whole = self.dice.randint(2, 5), self._level(), self.dice.random() < 0.3
        minimum = self.dice.choice([size, max(1, size - 1)])
        made = Made(Fact(name, minimum, (level,) if level else (), whole), [])
        made.others.append(objects.pod_group(name, minimum, level, whole))
        return self._gang(made, name, now_s, devices, size, schedulingGroup={"podGroupName": name})

    def _lws(self, name: str, now_s: float, devices: bool) -> Made:
        size = self.dice.randint(2, 4)
        exclusive = self.dice.choice(["", RACK])
        prefix = "leaderworkerset.sigs.k8s.io/"
        annotations = {f"{prefix}size": str(size), **({f"{prefix}exclusive-topology": exclusive} if exclusive else {})}
        # Where the set is exclusive, its leader is placed before there are workers.
        made = Made(Fact(name, 1 if exclusive else size, (exclusive,) if exclusive else (), whole=True), [])
        template = {"size": size, "restartPolicy": "RecreateGroupOnPodRestart"}
        version = "leaderworkerset.x-k8s.io/v1"
        made.others.append(objects.foreign(version, "LeaderWorkerSet", name, {"leaderWorkerTemplate": template}))
        labels = {f"{prefix}name": name, f"{prefix}group-index": "0"}
        return self._gang(
            made, name, now_s, devices, size, labels=labels, annotations=annotations,
            each=lambda i: {"labels": {f"{prefix}worker-index": str(i)}},
        )  # fmt: skip

    def _job(self, name: str, now_s: float, devices: bool) -> Made:
        size = self.dice.randint(2, 4)
        made = Made(Fact(name, size), [])
        job = objects.job(name, self.uid(), size)
        made.others.append(job)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.metadata.uid, "controller": True}
        annotations = {"fairlead.dev/gang": "true"} if self.dice.random() < 0.5 else {}
        return self._gang(made, name, now_s, devices, size, owner=owner, annotations=annotations)

    def _coscheduling(self, name: str, now_s: float, devices: bool) -> Made:
        size = self.dice.randint(2, 4)
        made = Made(Fact(name, size), [])
        made.others.append(objects.foreign("scheduling.x-k8s.io/v1alpha1", "PodGroup", name, {"minMember": size}))
        return self._gang(made, name, now_s, devices, size, labels={"scheduling.x-k8s.io/pod-group": name})

    def _kai(self, name: str, now_s: float, devices: bool) -> Made:
        size, level = self.dice.randint(2, 4), self._level()
        fixed = self.dice.random() < 0.3
        spec: dict[str, Any] = {"minMember": size}
        if level:
            spec["topologyConstraint"] = {"requiredTopologyLevel": level}
        if fixed:
            spec["preemptibility"] = "non-preemptible"
        made = Made(Fact(name, size, (level,) if level else (), preemptible=not fixed), [])
        made.others.append(objects.foreign("scheduling.run.ai/v2alpha2", "PodGroup", name, spec))
        return self._gang(made, name, now_s, devices, size, annotations={"pod-group-name": name})

    def _volcano(self, name: str, now_s: float, devices: bool) -> Made:
        size = self.dice.randint(2, 4)
        made = Made(Fact(name, size), [])
        made.others.append(objects.foreign("scheduling.volcano.sh/v1beta1", "PodGroup", name, {"minMember": size}))
        return self._gang(made, name, now_s, devices, size, annotations={"scheduling.k8s.io/group-name": name})

    def _kueue(self, name: str, now_s: float, devices: bool) -> Made:
        size, level = self.dice.randint(2, 4), self._level()
        annotations = {"kueue.x-k8s.io/pod-group-total-count": str(size)}
        if level:
            annotations["kueue.x-k8s.io/podset-required-topology"] = level
        made = Made(Fact(name, size, (level,) if level else ()), [])
        labels = {"kueue.x-k8s.io/pod-group-name": name}
        return self._gang(made, name, now_s, devices, size, labels=labels, annotations=annotations)
