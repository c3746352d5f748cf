"""Scenarios of one ModelService, and the normal form of what is left of it at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.history import Write
from chaos.trial import Scenario, Trial
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.kube.kinds import CONTROLLER_REVISIONS, PODS
from fairlead.serving.belongings import KINDS
from serving.chaos.invariants import Bounds, Replay, is_leaving, is_ready, labels_of

Json = dict[str, Any]
FOLLOWED = (PODS, MODEL_SERVICES, CONTROLLER_REVISIONS, *KINDS)
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
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        if conditions.pop("RolledOut") != rolled_out or set(conditions.values()) != {"True"}:
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
        form[resource.kind] = sorted(json.dumps(_plain(resource.kind, item), sort_keys=True) for item in items)
    return form


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
    replica = labels_of(pod).get("fairlead.dev/replica", "")
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
        "recoveries": sorted(r["cause"] for r in status.get("recoveries") or ()),
    }


class Create(ServiceScenario):
    name = "create"
    bounds = {"unified": Bounds(2, 0)}

    async def prepare(self, trial: Trial) -> None:
        return

    async def act(self, trial: Trial) -> None:
        await trial.create(MODEL_SERVICES, "svc", spec=self.body())

    def is_prepared(self, trial: Trial) -> bool:
        return True


class ScaleUp(ServiceScenario):
    name = "scale up"
    after_spec = {"replicas": 4}
    bounds = {"unified": Bounds(4, 2)}


class ScaleDown(ServiceScenario):
    """With requests in flight at all of them."""

    name = "scale down"
    replicas = 4
    after_spec = {"replicas": 2}
    bounds = {"unified": Bounds(4, 2)}

    async def prepare(self, trial: Trial) -> None:
        trial.kubelet.busy = 3
        await super().prepare(trial)


class Rolling(ServiceScenario):
    name = "rolling"
    after_spec = {"args": OTHER_ARGS}
    bounds = {"unified": Bounds(3, 2)}


SCENARIOS: Sequence[ServiceScenario] = (Create(), ScaleUp(), ScaleDown(), Rolling())
