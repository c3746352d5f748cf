"""ModelService: what a person writes wrongly is told with the field, the value and what to do; what is right is taken,
with its defaults."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from api.served import definition, obj, stored, updated
from fairlead.api import ModelService

MODEL = {"name": "m", "source": "hf://o/m"}
ROOT = Path(__file__).parents[2]


def of(**spec: Any) -> dict[str, Any]:
    return {"model": MODEL, **spec}


def accelerators(**fields: Any) -> dict[str, Any]:
    return of(accelerators=[{"name": "h100", **fields}])


def roles(*named: str, **fields: Any) -> dict[str, Any]:
    return of(roles=[{"name": name, **fields} for name in named])


WHOLE = of(
    model={
        "name": "llama", "source": "oci://registry.example/llama:1", "aliases": ["chat", "org/llama"],
        "format": "safetensors", "architecture": "LlamaForCausalLM", "maxContextTokens": 8192,
        "delivery": "ImageVolume", "pinned": True, "pullSecret": "token",
        "verification": {"publicKeys": ["-----BEGIN PUBLIC KEY-----"], "mode": "Warn"},
    },
    models=[{"name": "small", "source": "hf://o/small", "aliases": ["tiny"]}, {"name": "other"}],
    runtime="vllm",
    replicas=2,
    args=["--enable-chunked-prefill"],
    env=[{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    resources={"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"cpu": "8"}},
    nodeSelector={"pool": "gpu"},
    parallelism={"tensor": 8, "pipeline": 2, "hosts": 2, "expert": 8},
    accelerators=[
        {"name": "h100", "deviceClass": "gpu.nvidia.com", "count": 8, "selectors": ["true"], "model": "h100-sxm"},
        {"name": "l40", "resource": "nvidia.com/gpu", "parallelism": {"tensor": 4, "hosts": 4}, "args": ["--x"]},
        {"name": "cpu"},
    ],
    topology={"required": ["nvlink"], "preferred": ["rack", "topology.kubernetes.io/zone"], "rolesTogether": "block"},
    kvCache={"blockTokens": 16, "memoryPercent": 90, "dtype": "fp8", "prefixCaching": True, "offload": "64Gi"},
    podTemplate={"metadata": {"labels": {"a": "b"}}, "spec": {"hostIPC": True}},
    workerTemplate={"spec": {"priority": 1}},
    roles=[
        {"name": "prefill", "replicas": 3, "scaling": {"minReplicas": 1, "maxReplicas": 12}},
        {"name": "decode", "parallelism": {"tensor": 4, "hosts": 2}},
        {"name": "encode"},
    ],
    kvTransfer={"connector": "NixlConnector", "port": 5600, "settings": {"a": {"b": 1}}},
    adapters={"slots": 4, "maxRank": 32},
    scaling={"minReplicas": 1, "maxReplicas": 4},
    slo={"ttftMilliseconds": 500, "itlMilliseconds": 50, "percentile": 99},
    objectives=[{"name": "gold", "priority": 10}],
    priorityClassName="high", queue="team-a", workload="Replicas",
    rollout={
        "strategy": "Canary", "maxSurge": "25%", "maxUnavailable": "50%",
        "canary": {"steps": [{"weight": 5, "seconds": 60}, {"weight": 5, "pause": True}, {"weight": 50}]},
        "analysis": {"criteria": [{"measure": "ttft"}, {"measure": "errorRate", "marginPercent": 0.5}]},
    },
    drain={"timeoutSeconds": 0, "settleSeconds": 1},
    recovery={"policy": "Member", "budget": 1},
    probes={"startup": {"httpGet": {"path": "/health", "port": "http"}, "failureThreshold": 600}},
    batch={"allowed": True, "priority": -5},
    terminationGracePeriodSeconds=60,
    warmUp={"mode": "Auto", "prompts": ["You are a helpful assistant."], "timeoutSeconds": 60},
)  # fmt: skip


def test_a_whole_service_is_taken_and_every_field_of_the_kind_occurs_in_it() -> None:
    made, errors = stored(obj("ModelService", WHOLE))
    assert errors == []
    service = msgspec.convert(made, ModelService)
    assert service.spec.resources.requests == {"cpu": 4, "memory": "16Gi"}
    assert service.spec.rollout.canary is not None and service.spec.rollout.max_surge == "25%"
    assert service.spec.roles[0].replicas == 3 and service.spec.roles[1].replicas == 1
    schema = definition("ModelService")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    left = set(schema["properties"]["spec"]["properties"]) - set(WHOLE)
    assert left == {"command"}


def test_defaults_are_there_to_see() -> None:
    made, errors = stored(obj("ModelService", of()))
    assert errors == []
    spec = made["spec"]
    assert (spec["replicas"], spec["workload"], spec["terminationGracePeriodSeconds"]) == (1, "Replicas", 30)
    assert spec["rollout"] == {
        "strategy": "Rolling", "maxSurge": 1, "maxUnavailable": 0, "paused": False,
        "progressDeadlineSeconds": 900, "revisionHistoryLimit": 10,
    }  # fmt: skip
    assert spec["drain"] == {"timeoutSeconds": 300, "settleSeconds": 1}
    assert spec["recovery"]["budget"] == "25%"
    assert msgspec.convert(made, ModelService).spec == msgspec.convert(obj("ModelService", of()), ModelService).spec


@pytest.mark.parametrize("path", [*ROOT.glob("examples/*.yaml"), *ROOT.glob("examples/**/service.yaml")], ids=str)
def test_the_examples_are_taken(path: Path) -> None:
    for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
        if document and document.get("kind") == "ModelService":
            assert stored(document)[1] == []


INVALID = "Invalid value: "
BAD = [
    ({"model": {}}, 'spec.model.name: Required value'),
    (of(model={"name": "a b"}), 'spec.model.name: Invalid value: "a b": names that requests give have no '
     'commas, blanks '
     "or ~: commas separate names, ~ is for versions under trial"),
    (of(model={"name": "m~1"}), 'spec.model.name: Invalid value: "m~1": names that requests give have no commas'),
    (of(model={**MODEL, "aliases": ["x~"]}), 'spec.model.aliases[0]: Invalid value: "x~": names that requests give'),
    (of(model={**MODEL, "aliases": ["m"]}),
     "spec.model.aliases: Invalid value: the name m need not be among the aliases: leave it out there"),
    (of(model={"name": "m", "source": "Qwen/Qwen3-0.6B"}),
     'spec.model.source: Invalid value: "Qwen/Qwen3-0.6B": write an absolute path or a URL of these: hf://owner/name '
     "(for the Hugging Face hub), oci://registry/name:tag, s3://, gs://, http(s)://, pvc://claim/path, file:///path"),
    (of(model={"name": "m", "source": "ftp://host/m"}), 'spec.model.source: Invalid value: "ftp://host/m": write an'),
    (of(model={**MODEL, "delivery": "ImageVolume"}),
     "spec.model.delivery: Invalid value: an image volume is an OCI artifact: give a source such as "
     "oci://registry/name:tag, or another delivery"),
    (of(model={"name": "m", "delivery": "Fetch"}),
     "spec.model.delivery: Invalid value: there is nothing to fetch: give a source, or leave delivery out"),
    (of(model={**MODEL, "delivery": "Copy"}),
     'spec.model.delivery: Unsupported value: "Copy": supported values: "Auto", "Engine", "Fetch", "ImageVolume"'),
    (of(model={**MODEL, "verification": {}}),
     "spec.model.verification.publicKeys: Invalid value: verification without publicKeys: nobody could have "
     "signed; give "
     "at least one key, or leave verification out"),
    (of(model={"name": "m"}, runtime="vllm"),
     "spec.model.source: Invalid value: runtime vllm needs a model source: a folder or a URL such as hf://org/name"),
    (of(model={"name": "m"}, runtime="llama-cpp"), "runtime llama-cpp needs a model source"),
    (of(models=[{"name": "m"}]),
     "spec.models: Invalid value: models has the name m, which is already the first model's: every name reaches one "
     "model; leave one of them out"),
    (of(models=[{"name": "x", "aliases": ["m"]}]),
     "spec.models: Invalid value: models has an alias that is already a name of the first model"),
    (of(models=[{"name": "x", "aliases": ["y"]}, {"name": "y"}]),
     "spec.models: Invalid value: models has an alias that is also a name in models"),
    (of(models=[{"name": "x", "aliases": ["x"]}]), "models has an alias that is also a name in models"),
    (of(models=[{"name": "x", "aliases": ["z"]}, {"name": "y", "aliases": ["z"]}]),
     "spec.models: Invalid value: models has the same alias twice: every name reaches one model; leave one of "
     "them out"),
    (of(models=[{"name": "x"}, {"name": "x"}]), 'spec.models[1]: Duplicate value: {"name":"x"}'),
    (of(replicas=-1), "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0"),
    (of(replicas=1, scaling={"minReplicas": 2}),
     "spec.replicas: Invalid value: replicas is 1, below scaling.minReplicas, which is 2: raise replicas, or lower "
     "minReplicas"),
    (of(replicas=5, scaling={"maxReplicas": 4}),
     "spec.replicas: Invalid value: replicas is 5, above scaling.maxReplicas, which is 4: lower replicas, or raise "
     "maxReplicas (0: no bound)"),
    (of(replicas=3, scaling={"minReplicas": 3, "maxReplicas": 2}),
     "spec.scaling.maxReplicas: Invalid value: maxReplicas is 2, below minReplicas, which is 3: raise "
     "maxReplicas (0: no "
     "bound), or lower minReplicas"),
    (roles("unified", "decode"),
     "spec.roles: Invalid value: role unified does all of the work, and stands alone: remove it, or the other roles"),
    (roles("prefill"),
     "spec.roles: Invalid value: role prefill hands over to decode: add a role decode"),
    (roles("decode"),
     "spec.roles: Invalid value: role decode takes over from prefill: add a role prefill"),
    (roles("encode"),
     "spec.roles: Invalid value: role encode hands over to prefill: add the roles prefill and decode"),
    (roles("router"), 'spec.roles[0].name: Unsupported value: "router": supported values: "decode", "encode", '
     '"prefill", "unified"'),
    (of(replicas=2, roles=[{"name": "prefill", "replicas": 3, "scaling": {"maxReplicas": 4}}, {"name": "decode"}]),
     "spec.roles: Invalid value: role prefill has 6 engines (2 x 3), outside its scaling, from 1 to 4 (0: no bound): "
     "change one of them"),
    (of(parallelism={"tensor": 8, "hosts": 3}),
     "spec.parallelism.hosts: Invalid value: hosts is 3, which does not divide 8 accelerators (tensor x pipeline x "
     "data): take a number of hosts that does"),
    (of(parallelism={"tensor": 2, "data": 2, "expert": 3}),
     "spec.parallelism.expert: Invalid value: expert is 3, which does not divide the 4 ranks (tensor x pipeline "
     "x data) "
     "that it is inside of: take 1 or a number that does"),
    (roles("unified", parallelism={"hosts": 2}), "spec.roles[0].parallelism.hosts: Invalid value: hosts is 2, which"),
    (accelerators(parallelism={"hosts": 2}), "spec.accelerators[0].parallelism.hosts: Invalid value: hosts is 2"),
    (accelerators(deviceClass="gpu.nvidia.com", resource="nvidia.com/gpu"),
     "spec.accelerators[0].resource: Invalid value: deviceClass and resource are two ways to ask for the same devices: "
     "leave one of them out"),
    (accelerators(count=4), "spec.accelerators[0].count: Invalid value: count is 4, but of what? name a "
     "deviceClass or a "
     "resource, or leave it out"),
    (accelerators(resource="nvidia.com/gpu", selectors=["true"]),
     "spec.accelerators[0].deviceClass: Invalid value: selectors and matchAttributes choose among the devices of a "
     "class: name deviceClass, or leave them out"),
    (of(topology={"required": ["raack"]}),
     'spec.topology.required[0]: Invalid value: "raack": there is no such level: write one of host, nvlink, '
     'rack, block, '
     "zone, region, or a whole node label such as topology.kubernetes.io/zone"),
    (of(kvCache={"offload": "64GB"}),
     'spec.kvCache.offload: Invalid value: "64GB": write an amount of memory as Kubernetes does, such as 64Gi'),
    (of(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
     "spec.env[0].valueFrom: Invalid value: a variable has value or valueFrom, not both: leave one out"),
    (of(env=[{"name": "A", "valueFrom": {}}]),
     "spec.env[0].valueFrom: Invalid value: valueFrom names one of fieldRef, resourceFieldRef, configMapKeyRef and "
     "secretKeyRef"),
    (of(resources={"requests": {"cpu": "lots"}}), 'spec.resources.requests.cpu: Invalid value: "lots": '),
    (of(workload="Deployment", rollout={"strategy": "Canary"}),
     "spec.rollout.strategy: Invalid value: workload Deployment rolls by itself: for strategy Canary take workload "
     "Replicas"),
    (of(workload="LeaderWorkerSet", rollout={"strategy": "BlueGreen"}), "workload LeaderWorkerSet rolls by itself"),
    (of(workload="Deployment", parallelism={"tensor": 2, "hosts": 2}),
     "spec.workload: Invalid value: a Deployment has no replicas of several hosts: take workload Replicas or "
     "LeaderWorkerSet, or parallelism.hosts 1 everywhere"),
    (of(workload="Deployment", accelerators=[{"name": "a", "parallelism": {"tensor": 2, "hosts": 2}}]),
     "a Deployment has no replicas of several hosts"),
    (of(workload="StatefulSet"), 'spec.workload: Unsupported value: "StatefulSet": supported values: "Deployment", '
     '"LeaderWorkerSet", "Replicas"'),
    (of(rollout={"maxSurge": 0}),
     "spec.rollout.maxSurge: Invalid value: maxSurge and maxUnavailable are both 0, so that no replica could ever be "
     "replaced: allow 1 of either"),
    (of(rollout={"maxSurge": "0%", "maxUnavailable": "00"}), "maxSurge and maxUnavailable are both 0"),
    (of(rollout={"maxSurge": -1}), "spec.rollout.maxSurge: Invalid value: -1: it may not be negative: write 0 or more, "
     "or a share such as 25%"),
    (of(rollout={"maxUnavailable": "200%"}),
     'spec.rollout.maxUnavailable: Invalid value: "200%": more than all cannot be missing: write 100% or less'),
    (of(rollout={"maxSurge": "a few"}), 'spec.rollout.maxSurge: Invalid value: "a few": spec.rollout.maxSurge in body '
     "should match"),
    (of(rollout={"strategy": "Recreate"}), 'spec.rollout.strategy: Unsupported value: "Recreate": supported values: '
     '"BlueGreen", "Canary", "Rolling"'),
    (of(rollout={"canary": {"steps": [{"weight": 50}, {"weight": 20}]}}),
     "spec.rollout.canary.steps: Invalid value: weights of steps may only rise: put them in order"),
    (of(rollout={"canary": {"steps": [{"weight": 100}]}}),
     "spec.rollout.canary.steps: Invalid value: a step of 100 percent leaves no stable version to compare with: end "
     "below 100, the whole fleet follows by itself"),
    (of(rollout={"analysis": {"minRequests": 100, "maxRequests": 50}}),
     "spec.rollout.analysis.maxRequests: Invalid value: maxRequests is 50, below minRequests, which is 100: the "
     "comparison would end before it begins; raise maxRequests (0: no bound)"),
    (of(rollout={"analysis": {"maxSeconds": 0}}),
     "spec.rollout.analysis.maxSeconds: Invalid value: maxRequests and maxSeconds are both 0: an undecided comparison "
     "would never end; give one of them"),
    (of(rollout={"analysis": {"criteria": [{"measure": "errorRate", "marginPercent": 200}]}}),
     "spec.rollout.analysis.criteria[0].marginPercent: Invalid value: the margin of errorRate is in percentage points "
     "of all requests: at most 100"),
    (of(rollout={"analysis": {"criteria": [{"measure": "latency"}]}}),
     'spec.rollout.analysis.criteria[0].measure: Unsupported value: "latency": supported values: "errorRate", "itl", '
     '"outputLength", "ttft"'),
    (of(recovery={"budget": "101%"}), "spec.recovery.budget: Invalid value: "),
    (of(drain={"timeoutSeconds": 5, "settleSeconds": 10}),
     "spec.drain.settleSeconds: Invalid value: settleSeconds is longer than timeoutSeconds: the engine would be "
     "stopped "
     "before anybody is believed; raise timeoutSeconds, or lower settleSeconds"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "problem"), BAD, ids=[problem[:60] for _, problem in BAD])
def test_what_is_wrong_is_told_with_a_remedy(spec: dict[str, Any], problem: str) -> None:
    _, errors = stored(obj("ModelService", spec))
    assert any(problem in error for error in errors), errors
    assert len(errors) <= 2, "one mistake, one message, and what its pattern says"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (of(replica=1), 'unknown field "spec.replica"'),
        (of(model={**MODEL, "uri": "x"}), 'unknown field "spec.model.uri"'),
        (of(probes={"readiness": {"periodSecond": 1}}), 'unknown field "spec.probes.readiness.periodSecond"'),
        (of(env=[{"name": "A", "valueFrom": {"secretRef": {}}}]), 'unknown field "spec.env[0].valueFrom.secretRef"'),
        (of(podTemplate={"containers": []}), 'unknown field "spec.podTemplate.containers"'),
        (of(rollout={"strategy": "Rolling", "surge": 1}), 'unknown field "spec.rollout.surge"'),
    ],
)
def test_unknown_fields_are_told_with_their_path(spec: dict[str, Any], path: str) -> None:
    _, errors = stored(obj("ModelService", spec))
    assert path in errors, errors


@pytest.mark.parametrize(
    "spec",
    [
        of(replicas=0, scaling={"minReplicas": 0}),
        of(replicas=9, scaling={"minReplicas": 1}),
        of(rollout={"maxSurge": 0, "maxUnavailable": "25%"}),
        of(rollout={"maxSurge": "200%"}),
        of(model={"name": "m"}),
        of(model={"name": "m"}, runtime="simulated"),
        of(model={"name": "m"}, runtime="mine"),
        of(topology={"rolesTogether": ""}),
        roles("unified"),
        roles("prefill", "decode", "encode"),
        of(replicas=0, roles=[{"name": "prefill", "scaling": {"minReplicas": 0}}, {"name": "decode"}]),
        of(workload="Deployment", parallelism={"tensor": 8}),
        of(rollout={"analysis": {"maxRequests": 50}}),
        of(models=[{"name": f"m{i}", "aliases": [f"m{i}-{k}" for k in range(8)]} for i in range(32)]),
    ],
)
def test_what_is_unusual_but_right_is_taken(spec: dict[str, Any]) -> None:
    assert stored(obj("ModelService", spec))[1] == []


def test_names_that_pods_could_not_have() -> None:
    _, errors = stored(obj("ModelService", of(), "a" * 41))
    assert errors == ["<nil>: Invalid value: metadata.name may have at most 40 characters: replicas are named after it"]
    _, errors = stored(obj("ModelService", of(), "a.b"))
    assert errors == ["<nil>: Invalid value: metadata.name must be a DNS label (no dots): replicas are named after it"]


def test_another_workload_needs_another_service() -> None:
    old, _ = stored(obj("ModelService", of()))
    new = copy.deepcopy(old)
    new["spec"]["workload"] = "Deployment"
    assert updated(old, new) == [
        'spec.workload: Invalid value: "Deployment": workload cannot be changed: deploy a second service with '
        "the other "
        "workload, then delete this one"
    ]
    new["spec"] = {**old["spec"], "replicas": 3}
    assert updated(old, new) == []
