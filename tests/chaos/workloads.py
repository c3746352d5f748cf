"""Scenarios of the cluster's own controllers, what holds at every moment, and the normal form of the end."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from chaos.engines import Engine
from chaos.history import Write
from chaos.kubelet import Kubelet
from chaos.trial import Scenario, Trial
from fairlead.embedded.controllers import access as a
from fairlead.kube.client import Client

Json = dict[str, Any]
FOLLOWED = (
    a.PODS, a.DEPLOYMENTS, a.REPLICA_SETS, a.STATEFUL_SETS, a.REVISIONS, a.JOBS, a.CLAIMS, a.RESOURCE_CLAIMS, a.BUDGETS,
    a.SERVICES, a.ENDPOINTS, a.ENDPOINT_SLICES,
)  # fmt: skip
_RANDOM = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}(?=[-\"]|$)")


def template(image: str = "a", **spec: Any) -> Json:
    container = {"name": "c", "image": image}
    return {"metadata": {"labels": {"app": "svc"}}, "spec": {"containers": [container], **spec}}


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class WorkloadScenario(Scenario):
    crew = "cluster"
    resource: Any = None
    spec: Json = {}
    after_spec: Json = {}
    most = 1_000
    least = 0

    async def prepare(self, trial: Trial) -> None:
        await trial.create(self.resource, "svc", spec=self.spec)

    async def act(self, trial: Trial) -> None:
        await trial.patch(self.resource, "svc", {"spec": self.after_spec})

    def is_prepared(self, trial: Trial) -> bool:
        return self.is_settled(trial)

    def is_settled(self, trial: Trial) -> bool:
        pods = trial.now("Pod")
        for obj in trial.now(self.resource.kind):
            status, count = obj.get("status") or {}, obj["spec"]["replicas"]
            if status.get("observedGeneration") != obj["metadata"]["generation"]:
                return False
            if not status.get("readyReplicas", 0) == status.get("replicas", 0) == count:
                return False
            if self.resource is not a.REPLICA_SETS and status.get("updatedReplicas", 0) != count:
                return False
            return len(pods) == count and all(map(is_ready, pods))
        return False

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        """Pods within their bounds, none with two owners, and a status that tells nothing that never was."""
        found: list[str] = []
        pods: dict[str, Json] = {}
        for before in trial.before("Pod"):
            pods[before.name] = before.obj
            if before.type == "DELETED":
                del pods[before.name]
        for write in writes:
            if write.kind != "Pod":
                continue
            owners = [o for o in write.obj["metadata"].get("ownerReferences") or () if o.get("controller")]
            if len(owners) > 1:
                found.append(f"{write.name} has {len(owners)} controllers")
            pods[write.name] = write.obj
            if write.type == "DELETED":
                del pods[write.name]
            alive = [p for p in pods.values() if "deletionTimestamp" not in p["metadata"]]
            ready = sum(map(is_ready, alive))
            if len(alive) > self.most and self.resource is not a.DEPLOYMENTS:
                found.append(f"{len(alive)} pods at version {write.version}, at most {self.most} are allowed")
            if ready < self.least:
                found.append(f"{ready} ready pods at version {write.version}, at least {self.least} have to be")
        return found

    async def normal_form(self, trial: Trial) -> Any:
        form: Json = {}
        for resource in FOLLOWED:
            items = (await trial.client.list(resource, trial.namespace)).items
            plain = [self._plain(trial, resource.kind, obj) for obj in items]
            form[resource.kind] = sorted(plain, key=lambda obj: json.dumps(obj, sort_keys=True))
        return form

    @staticmethod
    def _plain(trial: Trial, kind: str, obj: Json) -> Json:
        meta, status = obj["metadata"], dict(obj.get("status") or {})
        kept = ("replicas", "readyReplicas", "updatedReplicas", "succeeded", "failed", "active", "observedGeneration")
        spec = {k: v for k, v in (obj.get("spec") or {}).items() if k not in ("nodeName", "clusterIP", "clusterIPs")}
        if kind == "Pod":
            # The token's volume has a random name.
            spec = {"image": spec["containers"][0]["image"], "ready": is_ready(obj), "phase": status.get("phase")}
        plain = {
            "name": meta["name"],
            "labels": {k: v for k, v in (meta.get("labels") or {}).items() if "uid" not in k},
            "owners": [(o["kind"], o["name"]) for o in meta.get("ownerReferences") or ()],
            "finalizers": meta.get("finalizers") or [],
            "spec": spec,
            "revision": obj.get("revision"),
            "status": {k: v for k, v in status.items() if k in kept},
            "conditions": [(c["type"], c["status"]) for c in status.get("conditions") or () if kind != "Pod"],
        }
        text = json.dumps(plain).replace(trial.namespace, "NAMESPACE").replace(meta.get("uid", "?"), "UID")
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID", text)
        found: Json = json.loads(
            _RANDOM.sub("-RANDOM", text) if kind in ("Pod", "ResourceClaim", "EndpointSlice") else text
        )
        return found


class DeploymentRolls(WorkloadScenario):
    name = "deployment rolls"
    calls = 30
    resource = a.DEPLOYMENTS
    options = {"only": ["deployment", "replicaset"]}
    spec = {
        "replicas": 3, "selector": {"matchLabels": {"app": "svc"}}, "template": template(),
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }  # fmt: skip
    after_spec = {"template": template("b")}
    most, least = 4, 3

    def is_settled(self, trial: Trial) -> bool:
        (obj,) = trial.now("Deployment") or [{"spec": {"template": template()}}]
        image = obj["spec"]["template"]["spec"]["containers"][0]["image"]
        return super().is_settled(trial) and all(p["spec"]["containers"][0]["image"] == image for p in trial.now("Pod"))

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        """As in Kubernetes, maxSurge bounds what the sets are told; one set's pods may go after another's have come."""
        found = super().check(trial, writes)
        told = {w.name: w.obj["spec"]["replicas"] for w in trial.before("ReplicaSet")}
        for write in writes:
            if write.kind == "ReplicaSet":
                told[write.name] = write.obj["spec"]["replicas"] if write.type != "DELETED" else 0
                if sum(told.values()) > self.most:
                    found.append(f"sets are told {told} at version {write.version}, at most {self.most} are allowed")
        return found


class DeploymentEdited(DeploymentRolls):
    """Rolled on to a third template and scaled, in the middle."""

    name = "deployment edited"
    calls = 70
    most = 6

    async def meanwhile(self, trial: Trial) -> None:
        await trial.until(lambda: len(trial.now("Pod")) > 3)
        await trial.patch(a.DEPLOYMENTS, "svc", {"spec": {"replicas": 5, "template": template("c")}})


class StatefulSetRolls(WorkloadScenario):
    name = "stateful set rolls"
    calls = 14
    resource = a.STATEFUL_SETS
    options = {"only": ["statefulset"]}
    spec = {
        "replicas": 2, "serviceName": "svc", "selector": {"matchLabels": {"app": "svc"}}, "template": template(),
        "volumeClaimTemplates": [
            {"metadata": {"name": "v"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        ],
    }  # fmt: skip
    after_spec = {"template": template("b"), "replicas": 3}
    most, least = 3, 1


class StatefulSetGoesBack(StatefulSetRolls):
    """To its former template, whose revision gets a new number."""

    name = "stateful set goes back"
    calls = 12
    after_spec = {"template": template()}
    most = 2

    async def prepare(self, trial: Trial) -> None:
        await super().prepare(trial)
        await trial.until(lambda: trial.is_seen and self.is_settled(trial))
        await trial.patch(a.STATEFUL_SETS, "svc", {"spec": {"template": template("b")}})


class Worker(Kubelet):
    """Pods end as soon as they run; each third fails."""

    def __init__(self, client: Client, namespace: str, node: str) -> None:
        super().__init__(client, namespace, node)
        self.ended: Counter[str] = Counter()

    def will_start(self, pod: Json) -> bool:
        return False

    async def _run(self, pod: Json) -> None:
        await super()._run(pod)
        phase = "Failed" if self.ended.total() % 3 == 1 else "Succeeded"
        self.ended[phase] += 1
        old = "2020-01-01T00:00:00Z"
        state = {"terminated": {"exitCode": int(phase == "Failed"), "finishedAt": old, "startedAt": old}}
        status = {"name": "c", "image": "a", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        await self.report(pod["metadata"]["name"], {"phase": phase, "containerStatuses": [status]})


class JobRuns(WorkloadScenario):
    """Every end of a pod counts once."""

    name = "job"
    calls = 20
    resource = a.JOBS
    options = {"only": ["job", "job-orphans"]}
    spec = {
        "completions": 4, "parallelism": 2, "backoffLimit": 50,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}},
    }  # fmt: skip

    def kubelet(self, client: Client, namespace: str, node: str) -> Kubelet:
        return Worker(client, namespace, node)

    async def prepare(self, trial: Trial) -> None:
        return

    def is_prepared(self, trial: Trial) -> bool:
        return True

    async def act(self, trial: Trial) -> None:
        await trial.create(a.JOBS, "svc", spec=self.spec)

    def is_settled(self, trial: Trial) -> bool:
        conditions = [c for job in trial.now("Job") for c in (job.get("status") or {}).get("conditions") or ()]
        return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        (job,) = trial.now("Job")
        ended = Counter(p["status"]["phase"] for p in trial.now("Pod"))
        told = {"Succeeded": job["status"].get("succeeded", 0), "Failed": job["status"].get("failed", 0)}
        wrong = [] if told == {k: ended[k] for k in told} else [f"{told} are told of {dict(ended)}"]
        if told["Succeeded"] != 4:
            wrong.append(f"{told} of 4 completions")
        held = [p["metadata"]["name"] for p in trial.now("Pod") if p["metadata"].get("finalizers")]
        return [*wrong, *([f"{held} are still held"] if held else [])]

    async def normal_form(self, trial: Trial) -> Any:
        # How many fail is a matter of who comes first.
        (job,) = (await trial.client.list(a.JOBS, trial.namespace)).items
        return {"succeeded": job["status"]["succeeded"], "conditions": [c["type"] for c in job["status"]["conditions"]]}


class ClaimsOfPods(WorkloadScenario):
    """Claims are made of templates for pods, and go when their pods have ended."""

    name = "resource claims"
    calls = 4
    options = {"only": ["resourceclaim-create", "resourceclaim"]}

    async def prepare(self, trial: Trial) -> None:
        requests = [{"name": "r", "exactly": {"deviceClassName": "x"}}]
        await trial.create(a.CLAIM_TEMPLATES, "t", spec={"spec": {"devices": {"requests": requests}}})

    def is_prepared(self, trial: Trial) -> bool:
        return True

    async def act(self, trial: Trial) -> None:
        for name in ("p1", "p2"):
            await trial.create(
                a.PODS, name,
                spec={**template()["spec"], "resourceClaims": [{"name": "c", "resourceClaimTemplateName": "t"}]},
            )  # fmt: skip

    async def meanwhile(self, trial: Trial) -> None:
        await trial.until(lambda: any(c.get("name") for p in trial.now("Pod") for c in self._claimed(p)))
        await trial.client.delete(a.PODS, "p1", trial.namespace)

    @staticmethod
    def _claimed(pod: Json) -> list[Json]:
        return [c for c in (pod.get("status") or {}).get("resourceClaimStatuses") or () if c.get("resourceClaimName")]

    def is_settled(self, trial: Trial) -> bool:
        pods, claims = trial.now("Pod"), trial.now("ResourceClaim")
        owned = [c for c in claims if c["metadata"]["ownerReferences"][0]["name"] == "p2"]
        return [p["metadata"]["name"] for p in pods] == ["p2"] and bool(self._claimed(pods[0])) and len(owned) == 1

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        made = Counter(
            w.obj["metadata"]["ownerReferences"][0]["uid"]
            for w in writes
            if w.kind == "ResourceClaim" and w.type == "ADDED"
        )
        return [f"{n} claims of one pod were made" for n in made.values() if n > 1]

    async def normal_form(self, trial: Trial) -> Any:
        return (await super().normal_form(trial))["Pod"]


class Budget(WorkloadScenario):
    """A disruption budget follows its pods."""

    name = "disruption budget"
    calls = 6
    options = {"only": ["disruption", "replicaset"]}
    resource = a.REPLICA_SETS
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "svc"}}, "template": template()}
    after_spec = {"replicas": 4}
    most, least = 4, 2

    async def prepare(self, trial: Trial) -> None:
        await super().prepare(trial)
        await trial.create(a.BUDGETS, "svc", spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "svc"}}})

    def is_settled(self, trial: Trial) -> bool:
        (rs,) = trial.now("ReplicaSet") or [{"spec": {"replicas": -1}}]
        (budget,) = trial.now("PodDisruptionBudget") or [{}]
        healthy = (budget.get("status") or {}).get("currentHealthy")
        return healthy == rs["spec"]["replicas"] and super().is_settled(trial)


class Elsewhere(Kubelet):
    """Pods with addresses that endpoints may have; loopback ones may not."""

    def running(self, pod: Json, engine: Engine, *, ready: bool = True) -> Json:
        last = engine.address.split(".")[1:]
        return super().running(pod, engine, ready=ready) | {"podIP": ".".join(["10", *last])}


class Published(WorkloadScenario):
    """A Service's endpoints follow its pods."""

    name = "endpoints"
    calls = 8
    options = {"only": ["endpoints", "replicaset"]}
    resource = a.REPLICA_SETS
    spec = Budget.spec
    after_spec = {"replicas": 4}
    most, least = 4, 2

    def kubelet(self, client: Client, namespace: str, node: str) -> Kubelet:
        return Elsewhere(client, namespace, node)

    async def prepare(self, trial: Trial) -> None:
        await super().prepare(trial)
        await trial.create(a.SERVICES, "svc", spec={"selector": {"app": "svc"}, "ports": [{"port": 80}]})

    def is_settled(self, trial: Trial) -> bool:
        (rs,) = trial.now("ReplicaSet") or [{"spec": {"replicas": -1}}]
        ready = [
            e for s in trial.now("EndpointSlice") for e in s.get("endpoints") or () if e["conditions"].get("ready")
        ]
        return len(ready) == rs["spec"]["replicas"] and super().is_settled(trial)


SCENARIOS: Sequence[WorkloadScenario] = (
    DeploymentRolls(), DeploymentEdited(), StatefulSetRolls(), StatefulSetGoesBack(), JobRuns(), ClaimsOfPods(),
    Budget(), Published(),
)  # fmt: skip
