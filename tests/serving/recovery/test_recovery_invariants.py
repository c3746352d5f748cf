"""What holds whatever happens: budgets, nothing done to what is well, a deed or a reason for every symptom, no
dependence on the order of replicas, and an end: a fleet whose causes go away is whole again, and deeds are bounded."""

import random
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serving.observed import DeviceTrouble, EngineView, Snapshot
from fairlead.serving.recovery import Memory, RecoveryPolicy, detect, recover
from fairlead.serving.recovery.ladder import Act, Hold
from fairlead.serving.recovery.memory import record
from serving.recovery.fleet import NOW_S, gang, node, replica, unready

AILMENTS = (
    "well", "well", "gone", "silent", "cordoned", "not-ready", "failed-device", "degraded", "unhealthy", "hung", "mute",
    "crash", "crash-few", "oom", "image", "disk", "fetch", "ended", "slow", "unplaced", "leaving", "leaving-hung",
)  # fmt: skip


@dataclass
class Scene:
    """A snapshot that is put together replica by replica."""

    replicas: list = field(default_factory=list)
    nodes: list = field(default_factory=list)
    devices: list = field(default_factory=list)
    engines: dict = field(default_factory=dict)

    def add(self, name, ailment, role="unified", revision="rev"):
        made = replace(_ill(name, ailment), role=role, revision=revision)
        self.replicas.append(made)
        place = made.members[0].node
        states = {
            "gone": {"gone": True}, "silent": {"silent_s": 90.0, "ready": False}, "cordoned": {"cordoned": True},
            "not-ready": {"ready": False, "unready_s": 90.0},
        }  # fmt: skip
        if place:
            self.nodes.append(node(place, **states.get(ailment, {})))
        effects = {"failed-device": "NoExecute", "degraded": "NoSchedule", "unhealthy": ""}
        if ailment in effects:
            self.devices.append(DeviceTrouble(name, f"d/{name}/0", effects[ailment], "Broken"))
        uid = made.members[0].uid
        if ailment in ("hung", "leaving-hung"):
            self.engines[uid] = EngineView(in_flight=1, seen_s=NOW_S, stalled_s=NOW_S - 200)
        elif ailment == "mute":
            self.engines[uid] = EngineView(seen_s=NOW_S - 300, unreachable_s=NOW_S - 200, accepts=True)
        elif ailment == "well":
            self.engines[uid] = EngineView(in_flight=0, seen_s=NOW_S, idle_s=NOW_S - 100)

    def snapshot(self, now_s=NOW_S):
        return Snapshot(now_s, tuple(self.replicas), tuple(self.nodes), tuple(self.devices), dict(self.engines))


def _ill(name, ailment):
    loop = {"waiting": "CrashLoopBackOff", "terminated": "Error", "exit_code": 1, "restarts": 9}
    never = {"started_s": None, "scheduled_s": NOW_S - 400}
    fields = {
        "crash": loop, "crash-few": {**loop, "restarts": 1}, "oom": {**loop, "terminated": "OOMKilled"},
        "image": {**never, "waiting": "ErrImagePull"},
        "disk": {**never, **loop, "container": "fetch", "message": "NoSpace"},
        "fetch": {**never, **loop, "container": "fetch", "message": "Unreachable"},
        "ended": {"failed": True, "terminated": "Error"}, "slow": {"started_s": NOW_S - 800, "unready_s": NOW_S - 800},
        "unplaced": {"node": "", "scheduled_s": None, "started_s": None, "unschedulable": "no room"},
    }  # fmt: skip
    if ailment in fields:
        return replica(name, (unready(name, **fields[ailment]),))
    return replica(name, draining_s=NOW_S - 60 if ailment.startswith("leaving") else None)


roles = st.sampled_from(["unified", "decode"])
scenes = st.lists(st.tuples(st.sampled_from(AILMENTS), roles, st.sampled_from(["r1", "r2"])), max_size=12)
policies = st.builds(
    RecoveryPolicy,
    mode=st.sampled_from(["Gang", "Member", "None"]),
    start_s=st.sampled_from([0.0, 300.0]),
    max_restarts=st.integers(0, 4),
    budget=st.sampled_from([0, 1, 3, "0%", "25%", "100%"]),
    desired=st.just({"unified": 5, "decode": 3}),
)
deeds = st.sampled_from(["Restarted", "Replaced", "Moved", "Draining"])
memories = st.lists(
    st.tuples(
        st.floats(0, 5000),
        st.integers(0, 13),
        st.sampled_from(["EngineHung", "NodeDraining", "CrashLoop"]),
        deeds,
        roles,
    ),
    max_size=12,
)


def _scene(drawn):
    scene = Scene()
    for i, (ailment, role, revision) in enumerate(drawn):
        scene.add(f"a-{i}", ailment, role, revision)
    return scene


def _memory(drawn):
    return Memory(
        tuple(
            record(NOW_S - ago, f"a-{i}", role, cause, deed, "", f"node-a-{i}") for ago, i, cause, deed, role in drawn
        )
    )


@given(scenes, policies, memories)
@settings(max_examples=300, deadline=None)
def test_one_look(drawn, policy, before):
    snapshot, memory = _scene(drawn).snapshot(), _memory(before)
    seen = recover(snapshot, policy, memory)
    by_name = {r.name: r for r in snapshot.replicas}
    ill = {s.replica for s in detect(snapshot, policy)}
    acted = {a.replica for a in seen.step.actions} | {r.name for r in seen.snapshot.replicas if r.broken}
    # Nothing happens to what is well, and everything that is ill and stays is spoken of.
    assert acted <= ill
    assert {n for n in ill if not by_name[n].is_leaving} <= {f.symptom.replica for f in seen.findings}
    assert len({f.symptom.replica for f in seen.findings}) == len(seen.findings)
    for finding in seen.findings:
        assert finding.text and isinstance(finding.outcome, Act | Hold)
        assert not isinstance(finding.outcome, Hold) or finding.outcome.reason
    if policy.mode == "None":
        assert not acted and not seen.records
    for role in ("unified", "decode"):
        new = [
            f for f in seen.findings
            if isinstance(f.outcome, Act) and by_name[f.symptom.replica].role == role
            and not f.symptom.cause.certain and not by_name[f.symptom.replica].is_leaving
            and not any(e.replica == f.symptom.replica for e in memory.entries(NOW_S))
        ]  # fmt: skip
        assert len(new) <= policy.budget_of(role)
    # Every deed is remembered, with its node.
    fresh = {r.replica for r in (*seen.records, *memory.records)}
    assert {a.replica for a in seen.step.actions if not by_name[a.replica].is_leaving} <= fresh
    assert seen.step.again_s is None or seen.step.again_s > 0
    # What serves is not deleted for what it may outlive.
    for action in seen.step.actions:
        cause = next(f.symptom.cause for f in seen.findings if f.symptom.replica == action.replica)
        assert cause.remedy != "drain" or not by_name[action.replica].is_ready


@given(scenes, policies, memories, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_the_order_of_what_is_seen_changes_nothing(drawn, policy, before, shuffler):
    scene = _scene(drawn)
    first = recover(scene.snapshot(), policy, _memory(before))
    for part in (scene.replicas, scene.nodes, scene.devices):
        shuffler.shuffle(part)
    second = recover(scene.snapshot(), policy, _memory(before))
    assert first.step == second.step and first.records == second.records


class World:
    """A fleet that does what it is told: what is deleted is made anew under another name, what is broken leaves once
    its replacement is ready. Faults stay where they were."""

    def __init__(self, ailments, desired):
        self.scene, self.now_s, self.made, self.desired = Scene(), NOW_S, 0, desired
        self.starting = {}  # name -> when it is ready
        self.memory = Memory()
        self.deeds = 0
        for ailment in ailments:
            self._make(ailment, at_once=True)

    def _make(self, ailment="well", at_once=False):
        name = f"a-{self.made}"
        self.made += 1
        self.scene.add(name, ailment)
        if not at_once:
            times = dict.fromkeys(("created_s", "scheduled_s", "started_s", "unready_s"), self.now_s)
            self._set(name, ready=False, ready_s=None, **times)
            self.starting[name] = self.now_s + 30

    def _set(self, name, **fields):
        self.scene.replicas = [
            replace(r, members=(replace(r.members[0], **fields),)) if r.name == name else r for r in self.scene.replicas
        ]

    def _drop(self, name):
        self.scene.replicas = [r for r in self.scene.replicas if r.name != name]

    def step(self, policy):
        self.now_s += 10
        for name, ready_s in list(self.starting.items()):
            if ready_s <= self.now_s:
                del self.starting[name]
                self._set(name, ready=True, ready_s=self.now_s, unready_s=None)
        engines = {}
        for uid, view in self.scene.engines.items():
            moved = self.now_s - NOW_S
            engines[uid] = replace(view, seen_s=None if view.seen_s is None else view.seen_s + moved)
        snapshot = replace(self.scene.snapshot(self.now_s), engines=engines)
        seen = recover(snapshot, policy, self.memory)
        self.memory = seen.memory
        self.deeds += len(seen.records)
        for action in seen.step.actions:
            self._drop(action.replica)
        broken = [r.name for r in seen.snapshot.replicas if r.broken]
        ready = [r for r in self.scene.replicas if r.is_ready]
        spare = len(ready) - self.desired
        for name in broken[: max(0, spare)]:
            self._drop(name)
            broken.remove(name)
        wanted = self.desired + len(broken)
        for _ in range(wanted - len(self.scene.replicas)):
            self._make()
        return seen


CURABLE = (
    "well",
    "gone",
    "silent",
    "cordoned",
    "not-ready",
    "failed-device",
    "degraded",
    "unhealthy",
    "hung",
    "mute",
    "ended",
    "disk",
)


@given(st.lists(st.sampled_from(CURABLE), min_size=1, max_size=8), st.sampled_from([1, 2, "25%", "100%"]))
@settings(max_examples=80, deadline=None)
def test_a_fleet_becomes_whole_and_loses_no_capacity_to_its_cure(ailments, budget):
    world = World(ailments, len(ailments))
    policy = RecoveryPolicy(budget=budget, desired={"unified": len(ailments)}, start_s=0)
    serving = sum(a in ("well", "cordoned", "not-ready", "degraded", "unhealthy") for a in ailments)
    for _ in range(600):
        seen = world.step(policy)
        assert sum(r.is_ready for r in world.scene.replicas) >= serving
        if not seen.findings and not world.starting:
            break
    common = [f for f in seen.findings if isinstance(f.outcome, Hold) and f.outcome.why == "Common"]
    if common:
        # A full disk on most nodes is left to people.
        assert ailments.count("disk") * 2 > len(ailments)
        return
    assert not seen.findings
    assert sum(r.is_ready for r in world.scene.replicas) == len(ailments)
    assert world.deeds == sum(a != "well" for a in ailments)


@given(
    st.sampled_from(["crash", "hung", "fetch", "disk", "oom"]), st.integers(1, 3), st.integers(0, 4), st.integers(0, 99)
)
@settings(max_examples=25, deadline=None)
def test_what_comes_back_is_not_cured_for_ever(ailment, desired, max_restarts, seed):
    """Every replacement is ill again, each on another node or on the same: deeds within an hour stay bounded."""
    generator = random.Random(seed)
    policy = RecoveryPolicy(budget="100%", desired={"unified": desired}, max_restarts=max_restarts)
    memory, now_s, deeds, made = Memory(), NOW_S, 0, 0
    while now_s < NOW_S + 3600:
        scene = Scene()
        scene.add(f"a-{made}", ailment)
        for i in range(desired - 1):
            scene.add(f"w-{i}", "well")
        at = f"node-{generator.randrange(3)}"
        scene.replicas[0] = replace(scene.replicas[0], members=(replace(scene.replicas[0].members[0], node=at),))
        snapshot = scene.snapshot(now_s)
        views = {u: replace(v, seen_s=now_s if v.seen_s else None) for u, v in snapshot.engines.items()}
        seen = recover(replace(snapshot, engines=views), policy, memory)
        memory = seen.memory
        deeds += len(seen.records)
        made += bool(seen.records)
        now_s += 15
    assert deeds <= (max_restarts + 1) * max(3, desired) + max(3, desired)
    assert isinstance(seen.findings[0].outcome, Hold)


def test_gangs_come_to_rest_too():
    policy = RecoveryPolicy(desired={"unified": 2}, budget=1)
    ended = {"restarts": 1, "started_s": NOW_S - 5, "terminated": "Error"}
    memory, deeds = Memory(), 0
    for i in range(240):
        ill = gang(f"a-{i}", 4, {2: ended}) if deeds < 100 else gang(f"a-{i}", 4)
        seen = recover(Snapshot(NOW_S + i * 15, (ill, gang("b-0", 4))), policy, memory)
        memory = seen.memory
        deeds += len(seen.records)
    assert 3 < deeds <= 16
