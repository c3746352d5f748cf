"""Scenarios of one ModelService, and the normal form of what is left of it at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.history import Write
from chaos.pickers import Picker
from chaos.service_invariants import MEMBER, REPLICA, REVISION, ROLE, Bounds, Replay, is_leaving, is_ready, labels_of
from chaos.trial import Scenario, Trial
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.api.role_scale import ROLE_SCALES
from fairlead.kube.kinds import CONTROLLER_REVISIONS, NODES, PODS
from fairlead.serving.belongings import KINDS
from fairlead.serving.http_routes import HTTP_ROUTES
from fairlead.serving.rollout.revisions import read_revisions
from fairlead.serving.rollout.undo import choose, undo_patch

Json = dict[str, Any]
FOLLOWED = (PODS, MODEL_SERVICES, CONTROLLER_REVISIONS, HTTP_ROUTES, *KINDS)
OTHER_ARGS = ["--itl-ms", "21"]


class ServiceScenario(Scenario):
    """A service that runs; subclasses say what happens to it."""

    spec: Json = {}
    """Over the defaults."""
    replicas = 2
    bounds: Mapping[str, Bounds] = {}
    after_spec: Json = {}
    """Merge patch of the spec."""

    def body(self) -> Json:
        return {
            "model": {"name": "m"}, "runtime": "simulated", "replicas": self.replicas,
            "drain": {"settleSeconds": 0, "timeoutSeconds": 60}, **self.spec,
        }  # fmt: skip

    async def prepare(self, trial: Trial) -> None:
        await trial.create(MODEL_SERVICES, "svc", spec=self.body())

    async def act(self, trial: Trial) -> None:
        await trial.patch(MODEL_SERVICES, "svc", {"spec": self.after_spec})

    def is_prepared(self, trial: Trial) -> bool:
        return self.is_whole(trial)

    def is_settled(self, trial: Trial) -> bool:
        return self.is_whole(trial)

    def is_whole(self, trial: Trial, rolled_out: str = "True") -> bool:
        """All replicas of the spec are there and ready, nothing else, and the status says so."""
        services, pods = trial.now("ModelService"), trial.now("Pod")
        if not services:
            return False
        (service,) = services
        status = service.get("status") or {}
        if status.get("observedGeneration") != service["metadata"]["generation"]:
            return False
        if any(role["draining"] for role in status["roles"]):
            return False
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        if conditions.pop("RolledOut") != rolled_out or set(conditions.values()) != {"True"}:
            return False
        replicas = {labels_of(p).get(REPLICA, p["metadata"]["name"]) for p in pods}
        if len(replicas) != sum(role["desired"] for role in status["roles"]):
            return False
        return all(is_ready(p) and not is_leaving(p) for p in pods)

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        whole = trial.bench.history.writes(trial.namespace)
        return Replay(self.bounds, trial.acted).run(whole)

    async def normal_form(self, trial: Trial) -> Any:
        return await normal_form(trial)


async def normal_form(trial: Trial) -> Any:
    """Everything of the namespace that serving writes, without what differs from run to run: uids, times, versions, and
    the numbers of replicas."""
    form: Json = {}
    for resource in FOLLOWED:
        items = (await trial.client.list(resource.as_unstructured(), trial.namespace)).items
        plain = [_without(trial.namespace, _plain(resource.kind, item)) for item in items]
        form[resource.kind] = sorted(plain, key=lambda obj: json.dumps(obj, sort_keys=True))
    return form


def _without(namespace: str, obj: Json) -> Json:
    found: Json = json.loads(json.dumps(obj).replace(namespace, "NAMESPACE"))
    return found


def _plain(kind: str, obj: Json) -> Json:
    meta = obj["metadata"]
    plain: Json = {
        "labels": meta.get("labels") or {}, "annotations": dict(meta.get("annotations") or {}),
        "owners": [(o["kind"], o["name"]) for o in meta.get("ownerReferences") or ()],
        "finalizers": meta.get("finalizers") or [],
        **{k: v for k, v in obj.items() if k not in ("metadata", "status", "apiVersion", "kind")},
    }  # fmt: skip
    plain["annotations"].pop("fairlead.dev/report-traffic", None)
    if kind == "Pod":
        return _plain_pod(obj, plain)
    plain["name"] = meta["name"]
    if kind == "ModelService":
        plain["status"] = _plain_status(obj.get("status") or {})
    elif kind == "ControllerRevision":
        plain["number"] = obj["revision"]
    return plain


def _plain_pod(pod: Json, plain: Json) -> Json:
    replica = labels_of(pod).get("fairlead.dev/replica", pod["metadata"]["name"])
    spec = {k: v for k, v in plain["spec"].items() if k != "nodeName"}
    labels = {k: v for k, v in plain["labels"].items() if not k.endswith(("/group-key", "/group-index"))}
    text = json.dumps({**plain, "spec": spec, "labels": labels, "ready": is_ready(pod), "leaves": is_leaving(pod)})
    found: Json = json.loads(text.replace(replica, "REPLICA"))
    # The token's volume has a random name.
    found["spec"].pop("volumes", None)
    for container in found["spec"]["containers"]:
        container.pop("volumeMounts", None)
    return found


def _plain_status(status: Json) -> Json:
    rollout = status.get("rollout") or {}
    return {
        **{k: v for k, v in status.items() if k not in ("conditions", "rollout", "recoveries")},
        "conditions": [(c["type"], c["status"], c["reason"]) for c in status.get("conditions") or ()],
        "rollout": {k: rollout.get(k) for k in ("phase", "weight", "step")},
        # A gang of which only some pods were deleted may be told twice.
        "recovered": len({r["replica"] for r in status.get("recoveries") or ()}),
    }


class Create(ServiceScenario):
    name = "create"
    calls = 8
    bounds = {"unified": Bounds(2, 0)}

    async def prepare(self, trial: Trial) -> None:
        return

    async def act(self, trial: Trial) -> None:
        await trial.create(MODEL_SERVICES, "svc", spec=self.body())

    def is_prepared(self, trial: Trial) -> bool:
        return True


class ScaleUp(ServiceScenario):
    name = "scale up"
    calls = 6
    after_spec = {"replicas": 4}
    bounds = {"unified": Bounds(4, 2)}


class ScaleDown(ServiceScenario):
    """With requests in flight at all of them."""

    name = "scale down"
    calls = 7
    replicas = 4
    after_spec = {"replicas": 2}
    bounds = {"unified": Bounds(4, 2)}

    async def prepare(self, trial: Trial) -> None:
        trial.kubelet.busy = 3
        await super().prepare(trial)


class Rolling(ServiceScenario):
    name = "rolling"
    calls = 15
    after_spec = {"args": OTHER_ARGS}
    bounds = {"unified": Bounds(3, 2)}


class RollingBusy(Rolling):
    """With requests in flight, and one replica missing at most in place of one too many."""

    name = "busy without surge"
    calls = 13
    spec = {"rollout": {"maxSurge": 0, "maxUnavailable": 1}}
    bounds = {"unified": Bounds(2, 1)}

    async def prepare(self, trial: Trial) -> None:
        trial.kubelet.busy = 2
        await super().prepare(trial)


class EditedMidway(ServiceScenario):
    """The template changes again when the first replica of the new one serves, and the number with it."""

    name = "edited midway"
    calls = 25
    after_spec = {"args": OTHER_ARGS}
    bounds = {"unified": Bounds(4, 2)}

    async def meanwhile(self, trial: Trial) -> None:
        old = {labels_of(p)[REVISION] for w in trial.before("Pod") for p in [w.obj]}
        await trial.until(lambda: any(is_ready(p) and labels_of(p)[REVISION] not in old for p in trial.now("Pod")))
        await trial.patch(MODEL_SERVICES, "svc", {"spec": {"args": ["--itl-ms", "22"], "replicas": 3}})


class Undo(ServiceScenario):
    """Back to the revision before, as `fairlead rollout undo` writes it."""

    name = "undo"
    calls = 15
    bounds = {"unified": Bounds(3, 2)}

    async def prepare(self, trial: Trial) -> None:
        await super().prepare(trial)
        await trial.until(lambda: trial.is_seen and self.is_whole(trial))
        await trial.patch(MODEL_SERVICES, "svc", {"spec": {"args": OTHER_ARGS}})

    async def act(self, trial: Trial) -> None:
        (service,) = trial.now("ModelService")
        stored = (await trial.client.list(CONTROLLER_REVISIONS, trial.namespace)).items
        target = choose(read_revisions(stored), service["status"]["revision"])
        await trial.patch(MODEL_SERVICES, "svc", undo_patch(service["spec"], target))


class BlueGreen(ServiceScenario):
    name = "blue-green"
    calls = 15
    spec = {"rollout": {"strategy": "BlueGreen"}}
    after_spec = {"args": OTHER_ARGS}
    bounds = {"unified": Bounds(4, 2)}


class Roles(ServiceScenario):
    """Prefill and decode engines, rolled together."""

    name = "prefill and decode"
    calls = 35
    spec = {"roles": [{"name": "prefill", "replicas": 1}, {"name": "decode", "replicas": 2}]}
    after_spec = {"args": OTHER_ARGS}
    bounds = {"prefill": Bounds(3, 2), "decode": Bounds(6, 4, per_set=2)}


class ScaledRole(Roles):
    """One role is scaled by itself."""

    name = "scaled role"
    calls = 9
    bounds = {"prefill": Bounds(2, 2), "decode": Bounds(5, 4, per_set=2)}

    async def act(self, trial: Trial) -> None:
        await trial.patch(ROLE_SCALES, "svc-decode", {"spec": {"replicas": 5}})

    def is_settled(self, trial: Trial) -> bool:
        return self.is_whole(trial) and sum(labels_of(p)[ROLE] == "decode" for p in trial.now("Pod")) == 5


class Gang(ServiceScenario):
    """Replicas of two hosts; a worker of one fails."""

    name = "gang"
    calls = 9
    spec = {
        "runtime": "vllm", "model": {"name": "m", "source": "pvc://models/m"},
        "parallelism": {"tensor": 2, "hosts": 2}, "recovery": {"policy": "Gang"},
    }  # fmt: skip
    bounds = {"unified": Bounds(3, 1)}

    async def act(self, trial: Trial) -> None:
        name = next(p["metadata"]["name"] for p in trial.now("Pod") if labels_of(p)[MEMBER] == "1")
        await trial.kubelet.fail(name)

    def is_settled(self, trial: Trial) -> bool:
        pods = trial.now("Pod")
        failed = any((p.get("status") or {}).get("phase") == "Failed" for p in pods)
        return len(pods) == 4 and not failed and self.is_whole(trial)


class GangRolling(Gang):
    name = "rolling gang"
    calls = 22
    after_spec = {"args": ["--max-num-seqs", "7"]}
    bounds = {"unified": Bounds(3, 2)}

    async def act(self, trial: Trial) -> None:
        await ServiceScenario.act(self, trial)


class Cordoned(ServiceScenario):
    """The node of all replicas is to be emptied; there is another one."""

    name = "cordoned node"
    calls = 13
    bounds = {"unified": Bounds(4, 2)}

    async def act(self, trial: Trial) -> None:
        node = trial.kubelet.node
        trial.kubelet.node = await trial.add_node()
        await trial.client.patch(NODES.as_unstructured(), node, {"spec": {"unschedulable": True}})

    def is_settled(self, trial: Trial) -> bool:
        pods = trial.now("Pod")
        return all(p["spec"].get("nodeName") == trial.kubelet.node for p in pods) and self.is_whole(trial)


class Canary(ServiceScenario):
    """Half of the traffic for a new version, with pickers that report what they see."""

    name = "canary promoted"
    calls = 25
    failing = 0.0
    spec = {
        "rollout": {
            "strategy": "Canary", "canary": {"steps": [{"weight": 50}]},
            "analysis": {"criteria": [{"measure": "errorRate", "marginPercent": 5}], "warmUpRequests": 0},
        }
    }  # fmt: skip
    after_spec = {"args": OTHER_ARGS}
    bounds = {"unified": Bounds(4, 2)}

    async def meanwhile(self, trial: Trial) -> None:
        (old,) = {s["status"]["revision"] for s in trial.now("ModelService")}
        picker = Picker(trial, old, self.failing)
        while not (trial.is_seen and self.is_over(trial)):
            await picker.report()
            await asyncio.sleep(0.1)
        await picker.forget()

    def is_over(self, trial: Trial) -> bool:
        (status,) = (s["status"] for s in trial.now("ModelService"))
        return bool(
            status["observedGeneration"] == 2 and status["revision"] == status["updateRevision"]
            and status["rollout"]["phase"] == "Stable"
        )  # fmt: skip


class Reverted(Canary):
    """The new version fails; it is taken back by itself."""

    name = "canary reverted"
    calls = 17
    failing = 0.5

    def is_over(self, trial: Trial) -> bool:
        return any(s["status"]["rollout"]["phase"] == "Reverted" for s in trial.now("ModelService"))

    def is_settled(self, trial: Trial) -> bool:
        return self.is_over(trial) and self.is_whole(trial, rolled_out="False")


class ByRoute(Canary):
    """The same with the shares in an HTTPRoute of somebody else's."""

    name = "canary by route"
    calls = 25
    spec = {"rollout": {**Canary.spec["rollout"], "canary": {"steps": [{"weight": 50}], "httpRoute": "route"}}}

    async def prepare(self, trial: Trial) -> None:
        backend = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "svc"}
        await trial.create(HTTP_ROUTES, "route", spec={"rules": [{"backendRefs": [backend]}]})
        await super().prepare(trial)


class Deleted(ServiceScenario):
    """In the middle of a rollout; the garbage collector of the cluster takes away what it owns."""

    name = "deleted"
    calls = 4
    after_spec = {"args": OTHER_ARGS}
    helpers = ("collector",)
    bounds = {"unified": Bounds(3, 0)}

    async def meanwhile(self, trial: Trial) -> None:
        await trial.until(lambda: len(trial.now("Pod")) > 2)
        await trial.client.delete(MODEL_SERVICES, "svc", trial.namespace)

    def is_settled(self, trial: Trial) -> bool:
        return not any(trial.now(r.kind) for r in FOLLOWED if r.kind != "HTTPRoute")


class Orphaned(ServiceScenario):
    """Deleted without its pods, and made again with other arguments: they are found again."""

    name = "orphaned"
    calls = 18
    helpers = ("collector",)
    bounds = {"unified": Bounds(3, 2)}

    async def act(self, trial: Trial) -> None:
        (before,) = trial.now("ModelService")
        await trial.client.delete(MODEL_SERVICES, "svc", trial.namespace, propagation="Orphan")
        await trial.until(lambda: not trial.now("ModelService"))
        await trial.create(MODEL_SERVICES, "svc", spec=before["spec"] | {"args": OTHER_ARGS})


class ByDeployment(ServiceScenario):
    """A Deployment keeps the pods; its controllers run beside."""

    name = "deployment"
    calls = 14
    spec = {"workload": "Deployment"}
    helpers = ("workloads",)
    after_spec = {"args": OTHER_ARGS, "replicas": 3}
    bounds = {}

    def is_whole(self, trial: Trial, rolled_out: str = "True") -> bool:
        (service,) = trial.now("ModelService") or [{"spec": {"replicas": -1}}]
        return len(trial.now("Pod")) == service["spec"]["replicas"] and super().is_whole(trial, rolled_out)


SCENARIOS: Sequence[ServiceScenario] = (
    Create(), ScaleUp(), ScaleDown(), Rolling(), RollingBusy(), EditedMidway(), Undo(), BlueGreen(), Roles(),
    ScaledRole(), Gang(), GangRolling(), Cordoned(), Canary(), Reverted(), ByRoute(), Deleted(), Orphaned(),
    ByDeployment(),
)  # fmt: skip
