"""What holds at every moment of a service's life, whoever was killed: checked on each write of its namespace, in order.

A status is of a look that is a little older than the write itself, of each pod by another little. What it counts
therefore has to lie between what was so since the status before the one before; what it calls done has to have been so
at one moment of that time. It may be late, never invented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.history import Write

Json = dict[str, Any]
SERVICE, ROLE, REVISION = "fairlead.dev/model-service", "fairlead.dev/role", "fairlead.dev/revision"
REPLICA, TRACK, DRAINING = "fairlead.dev/replica", "fairlead.dev/track", "fairlead.dev/draining"
MEMBER = "fairlead.dev/member"
SIZE = "leaderworkerset.sigs.k8s.io/size"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one role: replicas that may be there at most, and that have to serve at least."""

    most: int
    least: int
    per_set: int = 1


@dataclass(frozen=True, slots=True)
class Replica:
    role: str
    revision: str
    track: str
    ready: bool
    broken: bool = False
    """A pod of it has failed: whether it counts still is the controller's to say."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The replicas that count (neither draining nor going away) after one write."""

    replicas: tuple[Replica, ...]

    def ready(self, role: str, revision: str = "") -> int:
        return sum(r.ready and r.role == role and revision in ("", r.revision) for r in self.replicas)

    @property
    def without_broken(self) -> Moment:
        return Moment(tuple(r for r in self.replicas if not r.broken))

    def there(self, role: str) -> int:
        return sum(r.role == role for r in self.replicas)

    def updated(self, role: str, revision: str) -> int:
        return sum(r.role == role and r.revision == revision for r in self.replicas)


def labels_of(pod: Json) -> Mapping[str, str]:
    return pod["metadata"].get("labels") or {}


def is_leaving(pod: Json) -> bool:
    meta = pod["metadata"]
    return "deletionTimestamp" in meta or DRAINING in (meta.get("annotations") or {})


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def moment_of(pods: Mapping[str, Json]) -> Moment:
    """As the controller counts: a replica of several pods leaves when it drains or all of it goes away."""
    by_replica: dict[str, list[Json]] = {}
    for pod in pods.values():
        if SERVICE in labels_of(pod):
            by_replica.setdefault(labels_of(pod).get(REPLICA, pod["metadata"]["name"]), []).append(pod)
    found = []
    for members in by_replica.values():
        draining = any(DRAINING in (p["metadata"].get("annotations") or {}) for p in members)
        if draining or all("deletionTimestamp" in p["metadata"] for p in members):
            continue
        labels = labels_of(members[0])
        size = int(members[0]["metadata"]["annotations"].get(SIZE, "1"))
        alive = [p for p in members if "deletionTimestamp" not in p["metadata"]]
        ready = len(alive) >= size and all(map(is_ready, alive))
        broken = any((p.get("status") or {}).get("phase") == "Failed" for p in members)
        found.append(Replica(labels[ROLE], labels[REVISION], labels[TRACK], ready and not broken, broken))
    return Moment(tuple(sorted(found, key=lambda r: (r.role, r.revision, r.track, r.ready, r.broken))))


@dataclass(slots=True)
class Replay:
    """Goes through the history of one namespace. `after`: from which version on bounds count."""

    bounds: Mapping[str, Bounds]
    after: int
    found: list[str] = field(default_factory=list)
    pods: dict[str, Json] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    """Since the status before the last one."""
    since_last: int = 0
    """How many of the moments were before the last status."""
    service: Json | None = None
    revisions: dict[str, str] = field(default_factory=dict)
    """Template -> the revision that a status named for it."""
    specs: dict[tuple[str, int], Json] = field(default_factory=dict)
    """Uid and generation -> spec."""

    def run(self, writes: Sequence[Write]) -> list[str]:
        self.moments = [Moment(())]
        for write in writes:
            if write.kind == "Pod":
                self._pod(write)
            elif write.kind == "ModelService":
                self._service(write)
            elif write.kind == "InferenceModelRewrite" and write.type != "DELETED":
                self._rewrite(write)
        return list(dict.fromkeys(self.found))

    def _say(self, write: Write, text: str) -> None:
        if write.version > self.after:
            self.found.append(f"{write.kind} {write.name} (version {write.version}): {text}")

    def _pod(self, write: Write) -> None:
        pod, before = write.obj, self.pods.get(write.name)
        if SERVICE not in labels_of(pod):
            return
        owners = [o for o in pod["metadata"].get("ownerReferences") or () if o.get("controller")]
        if len(owners) > 1:
            self._say(write, f"has {len(owners)} controllers")
        begins_to_go = "deletionTimestamp" in pod["metadata"] or write.type == "DELETED"
        is_ours = any(o["kind"] == "ModelService" for o in owners)
        if begins_to_go and is_ours and before is not None and self.service and self._serves(before):
            self._say(write, "was deleted while it served, without being drained first")
        if write.type == "DELETED":
            self.pods.pop(write.name, None)
        else:
            self.pods[write.name] = pod
        moment = moment_of(self.pods)
        self.moments.append(moment)
        if self.service is not None:
            self._bounds(write, moment)

    def _serves(self, pod: Json) -> bool:
        """Whether the pod's whole replica does."""
        name = labels_of(pod)[REPLICA]
        members = {n: p for n, p in self.pods.items() if labels_of(p).get(REPLICA) == name}
        return any(r.ready for r in moment_of(members).replicas)

    def _bounds(self, write: Write, moment: Moment) -> None:
        for role, bounds in self.bounds.items():
            if moment.there(role) > bounds.most:
                self._say(write, f"{moment.there(role)} replicas of {role}, at most {bounds.most} are allowed")
            if moment.ready(role) < bounds.least:
                self._say(write, f"{moment.ready(role)} ready replicas of {role}, at least {bounds.least} have to be")
        if len(self.bounds) > 1:
            # Roles of two generations do not work together: what serves are the sets of each.
            revisions = {r.revision for r in moment.replicas}
            sets = sum(min(moment.ready(o, v) // b.per_set for o, b in self.bounds.items()) for v in revisions)
            least = min(b.least // b.per_set for b in self.bounds.values())
            if sets < least:
                self._say(write, f"{sets} sets of one generation serve, at least {least} have to: {moment}")

    def _service(self, write: Write) -> None:
        before, self.service = self.service, write.obj
        if write.type == "DELETED":
            self.service = None
            return
        meta, status = write.obj["metadata"], write.obj.get("status") or {}
        self.specs.setdefault((meta["uid"], meta["generation"]), write.obj["spec"])
        if not status or status == ((before or {}).get("status") or {}):
            return
        self._status(write, status)
        self.moments = self.moments[self.since_last :]
        self.since_last = len(self.moments) - 1

    def _status(self, write: Write, status: Json) -> None:
        generation = status.get("observedGeneration", 0)
        if generation > write.obj["metadata"]["generation"]:
            self._say(write, f"observedGeneration {generation} is not written yet")
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        for c in conditions.values():
            if c.get("observedGeneration") != generation:
                self._say(write, f"condition {c['type']} is of generation {c.get('observedGeneration')}: {generation}")
        spec = self.specs.get((write.obj["metadata"]["uid"], generation))
        if spec is None:
            return
        template = str({k: v for k, v in spec.items() if k not in ("replicas", "rollout")})
        wanted = status.get("updateRevision", "")
        if wanted and self.revisions.setdefault(template, wanted) != wanted:
            self._say(write, f"updateRevision {wanted}, but the spec is that of {self.revisions[template]}")
        roles = {r["name"]: r for r in status.get("roles") or ()}
        counts = {n: (r["replicas"], r["ready"], r["updated"]) for n, r in roles.items()}
        moments = [m for each in self.moments for m in (each, each.without_broken)]
        for name, told in counts.items():
            seen = [(m.there(name), m.ready(name), m.updated(name, wanted)) for m in moments]
            for what, number, numbers in zip(
                ("replicas", "ready", "updated"), told, zip(*seen, strict=True), strict=True
            ):
                if not min(numbers) <= number <= max(numbers):
                    self._say(write, f"{number} {what} of {name}, but there were {sorted(set(numbers))}")
        if conditions.get("RolledOut", {}).get("status") == "True":
            self._rolled_out(write, roles, wanted)
        for name in ("Ready", "EndpointsReady"):
            if conditions.get(name, {}).get("status") != "True":
                continue
            if not any(all(m.ready(n) >= r["desired"] for n, r in roles.items()) for m in self.moments):
                self._say(write, f"{name}, but there were {self.moments}")
            if any(r["ready"] < r["desired"] for r in roles.values()):
                self._say(write, f"{name} with {counts}")

    def _rolled_out(self, write: Write, roles: Mapping[str, Json], wanted: str) -> None:
        def is_done(moment: Moment) -> bool:
            return all(moment.there(n) == moment.ready(n, wanted) == r["desired"] for n, r in roles.items())

        if not any(map(is_done, self.moments)):
            self._say(write, f"RolledOut, but {Counter(self.moments[-1].replicas)}")

    def _rewrite(self, write: Write) -> None:
        """A version on trial (its names have a `~`) gets traffic only while something serves in its pool."""
        for rule in write.obj["spec"].get("rules") or ():
            for target in rule.get("targets") or ():
                if "~" in target.get("modelRewrite", "") and target.get("weight"):
                    serves = any(r.ready and r.track == "canary" for m in self.moments for r in m.replicas)
                    if not serves:
                        self._say(write, f"weight {target['weight']} for a canary pool in which nothing serves")
