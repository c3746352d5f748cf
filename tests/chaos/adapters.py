"""Scenarios of ModelAdapters whose controller is killed, what holds at every moment, and the normal form of the end."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.history import Write
from chaos.kubelet import Kubelet
from chaos.trial import Scenario, Trial
from fairlead.api.inference_pool import ADAPTERS_ANNOTATION, INFERENCE_POOLS
from fairlead.api.model_adapter import MODEL_ADAPTERS
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.kube.client import Client
from fairlead.kube.kinds import PODS
from fairlead.serving.adapters.objects import REWRITES

Json = dict[str, Any]
FOLLOWED = (PODS, MODEL_ADAPTERS, REWRITES, INFERENCE_POOLS)
ENGINES = ("e1", "e2")
ROLLOUT = {
    "steps": [{"weight": 50}],
    "analysis": {"maxSeconds": 1, "inconclusive": "Promote", "criteria": [{"measure": "errorRate"}]},
}


def adapter_folder(name: str) -> str:
    """A source on this machine, the same for all trials."""
    folder = Path(tempfile.gettempdir()) / "chaos-adapters" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "base_model_name_or_path": "m"})
    )
    (folder / "adapter_model.safetensors").write_bytes(bytes(64))
    return str(folder)


class Engines(Kubelet):
    """Looks, at every write of a pod, whether what it says it has its engine has."""

    def __init__(self, client: Client, namespace: str, node: str) -> None:
        super().__init__(client, namespace, node)
        self.wrong: list[str] = []

    def see(self, write: Write) -> None:
        super().see(write)
        engine = self.engines.get(write.obj["metadata"].get("uid", "")) if write.kind == "Pod" else None
        if engine is not None and (lacks := said(write.obj) - engine.adapters.keys()):
            self.wrong.append(f"{write.name} says that it has {sorted(lacks)}, and its engine has not")


def said(pod: Json) -> set[str]:
    """Adapters that a pod says it has."""
    text = (pod["metadata"].get("annotations") or {}).get(ADAPTERS_ANNOTATION, "")
    return {name for name in text.split(",") if name}


class AdapterScenario(Scenario):
    crew = "adapters"
    has_adapter = True

    def kubelet(self, client: Client, namespace: str, node: str) -> Kubelet:
        return Engines(client, namespace, node)

    async def prepare(self, trial: Trial) -> None:
        spec = {"model": {"name": "m"}, "runtime": "simulated", "adapters": {"slots": 2, "maxRank": 16}}
        await trial.create(MODEL_SERVICES, "svc", spec=spec)
        labels = {"fairlead.dev/model-service": "svc", "fairlead.dev/runtime": "simulated"}
        pool = {
            "selector": {"matchLabels": {"fairlead.dev/model-service": "svc", "fairlead.dev/track": "stable"}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "fairlead-gateway", "port": {"number": 9002}},
        }
        await trial.create(INFERENCE_POOLS, "svc", metadata={"labels": labels}, spec=pool)
        of_engine = {
            **labels, "fairlead.dev/role": "unified", "fairlead.dev/revision": "r1", "fairlead.dev/track": "stable",
            "fairlead.dev/member": "0",
        }  # fmt: skip
        for name in ENGINES:
            spec = {"containers": [{"name": "engine", "image": "x"}]}
            await trial.create(PODS, name, metadata={"labels": of_engine}, spec=spec)
        if self.has_adapter:
            await self.add(trial)

    async def add(self, trial: Trial) -> None:
        spec = {
            "service": "svc", "source": adapter_folder("first"), "rollout": ROLLOUT,
            "placement": {"minReplicas": len(ENGINES)},
        }  # fmt: skip
        await trial.create(MODEL_ADAPTERS, "ad", spec=spec)

    def is_prepared(self, trial: Trial) -> bool:
        return self.is_served(trial) if self.has_adapter else len(trial.kubelet.engines) == len(ENGINES)

    def is_settled(self, trial: Trial) -> bool:
        return self.is_served(trial)

    def is_served(self, trial: Trial) -> bool:
        """By the version that is wanted, on all engines, and nothing else is there."""
        adapters = trial.now("ModelAdapter")
        for adapter in adapters:
            status = adapter.get("status") or {}
            if status.get("observedGeneration") != adapter["metadata"]["generation"]:
                return False
            if not status.get("version") or status["version"] != status["updateVersion"]:
                return False
            if {c["status"] for c in status["conditions"]} != {"True"}:
                return False
        loaded = [set(e.adapters) for e in trial.kubelet.engines.values()]
        told = [said(p) for p in trial.now("Pod")]
        return bool(adapters) and len(loaded) == len(told) == len(ENGINES) and all(
            len(each) == 1 and each == loaded[0] for each in (*loaded, *told)
        )  # fmt: skip

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        assert isinstance(trial.kubelet, Engines)
        found, pods = list(trial.kubelet.wrong), {w.name: w.obj for w in trial.before("Pod")}
        for write in writes:
            if write.kind == "Pod":
                pods[write.name] = write.obj
            if write.kind != "InferenceModelRewrite" or write.type == "DELETED":
                continue
            for rule in write.obj["spec"]["rules"]:
                names = [t["modelRewrite"] for t in rule["targets"] if t.get("weight")]
                served = {name for pod in pods.values() for name in said(pod)}
                if len(names) > 1 and (lacks := set(names) - served):
                    found.append(f"requests are led to {sorted(lacks)}, which no pod has (version {write.version})")
        return found

    async def normal_form(self, trial: Trial) -> Any:
        adapters = (await trial.client.list(MODEL_ADAPTERS, trial.namespace)).items
        rewrites = (await trial.client.list(REWRITES, trial.namespace)).items
        pods = (await trial.client.list(PODS.as_unstructured(), trial.namespace)).items
        pool = await trial.client.get(INFERENCE_POOLS, "svc", trial.namespace)
        return {
            "adapters": [self._plain(a) for a in adapters],
            "rewrites": [r["spec"] for r in rewrites],
            "pods": [sorted(said(p)) for p in pods],
            "pool": sorted(pool["metadata"].get("annotations") or {}),
            "engines": sorted(sorted(e.adapters.items()) for e in trial.kubelet.engines.values()),
        }

    @staticmethod
    def _plain(adapter: Json) -> Json:
        status = adapter["status"]
        history = json.loads((adapter["metadata"].get("annotations") or {}).get("fairlead.dev/adapter-history", "[]"))
        return {
            "finalizers": adapter["metadata"].get("finalizers"),
            "history": len(history),
            "conditions": [(c["type"], c["status"], c["reason"]) for c in status["conditions"]],
            "status": {k: v for k, v in status.items() if k not in ("conditions", "rollout")},
            "phase": (status.get("rollout") or {}).get("phase"),
        }


class Added(AdapterScenario):
    name = "adapter added"
    calls = 8
    has_adapter = False

    async def act(self, trial: Trial) -> None:
        await self.add(trial)


class NewVersion(AdapterScenario):
    """Beside the old one for a while, then in its place."""

    name = "adapter version"
    calls = 18

    async def act(self, trial: Trial) -> None:
        await trial.patch(MODEL_ADAPTERS, "ad", {"spec": {"source": adapter_folder("second")}})


class ChangedBack(AdapterScenario):
    """While the new version is on trial the old source comes back."""

    name = "adapter changed back"
    calls = 7

    async def act(self, trial: Trial) -> None:
        await trial.patch(MODEL_ADAPTERS, "ad", {"spec": {"source": adapter_folder("second")}})

    async def meanwhile(self, trial: Trial) -> None:
        await trial.until(lambda: any(len(e.adapters) > 1 for e in trial.kubelet.engines.values()))
        await trial.patch(MODEL_ADAPTERS, "ad", {"spec": {"source": adapter_folder("first")}})


class Removed(AdapterScenario):
    """No engine has it any more when it is gone."""

    name = "adapter removed"
    calls = 6

    async def act(self, trial: Trial) -> None:
        await trial.client.delete(MODEL_ADAPTERS, "ad", trial.namespace)

    def is_settled(self, trial: Trial) -> bool:
        loaded = any(e.adapters for e in trial.kubelet.engines.values())
        told = any(map(said, trial.now("Pod")))
        return not (trial.now("ModelAdapter") or loaded or told or trial.now("InferenceModelRewrite"))

    def is_prepared(self, trial: Trial) -> bool:
        return self.is_served(trial)


SCENARIOS: Sequence[AdapterScenario] = (Added(), NewVersion(), ChangedBack(), Removed())
