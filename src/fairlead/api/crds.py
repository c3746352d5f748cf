"""The CustomResourceDefinitions that Fairlead installs: its own kinds, and standards that a bare API server lacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from fairlead.api import queue
from fairlead.api.benchmark import Benchmark, BenchmarkSpec, BenchmarkStatus
from fairlead.api.kind import GROUP, VERSION, Kind
from fairlead.api.model_adapter import ModelAdapter, ModelAdapterSpec, ModelAdapterStatus
from fairlead.api.model_service import ModelService, ModelServiceSpec, ModelServiceStatus
from fairlead.api.role_scale import RoleScale, RoleScaleSpec, RoleScaleStatus
from fairlead.api.rules import Rules, attach, benchmark, model_adapter, model_service, role_scale, serving_runtime
from fairlead.api.rules import queue as queue_rules
from fairlead.api.serving_runtime import ServingRuntime, ServingRuntimeSpec
from fairlead.api.structural import openapi_schema
from fairlead.api.traffic_report import TrafficReport

Json = dict[str, Any]


DIGEST = "fairlead.dev/definition-digest"
"""Annotation that tells which definition this is: an unchanged one need not be written, one without it is not ours."""


def all_crds() -> list[Json]:
    """Every CRD, ready to be applied; callers own the result."""
    crds = [
        _model_service(), _serving_runtime(), _model_adapter(), _role_scale(), _traffic_report(), _queue(),
        _benchmark(), *_standards(),
    ]  # fmt: skip
    for crd in crds:
        digest = hashlib.sha256(json.dumps(crd["spec"], sort_keys=True).encode()).hexdigest()[:16]
        crd["metadata"].setdefault("annotations", {})[DIGEST] = digest
    return crds


def is_outdated(stored: Mapping[str, Any], crd: Mapping[str, Any]) -> bool:
    """Whether a stored definition is ours, but of another version of Fairlead."""
    digest = (stored["metadata"].get("annotations") or {}).get(DIGEST)
    return digest is not None and digest != crd["metadata"]["annotations"][DIGEST]


class Column(NamedTuple):
    """What `kubectl get` prints; those of priority 1 only with `-o wide`."""

    name: str
    type: str
    path: str
    priority: int = 0

    def to_json(self) -> Json:
        wide = {"priority": self.priority} if self.priority else {}
        return {"name": self.name, "type": self.type, "jsonPath": self.path, **wide}


_AGE = Column("Age", "date", ".metadata.creationTimestamp")
_STATUS = Column("Status", "string", '.status.conditions[?(@.type=="Ready")].reason')
_MESSAGE = Column("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1)


def _model_service() -> Json:
    columns = [
        Column("Model", "string", ".spec.model.name"),
        Column("Runtime", "string", ".status.runtime"),
        Column("Desired", "integer", ".spec.replicas"),
        Column("Ready", "integer", ".status.readyReplicas"),
        Column("Updated", "integer", ".status.updatedReplicas"),
        _STATUS,
        Column("Rollout", "string", ".status.rollout.phase"),
        _AGE,
        Column("Source", "string", ".spec.model.source", 1),
        Column("Revision", "string", ".status.revision", 1),
        Column("Wanted", "string", ".status.updateRevision", 1),
        Column("Strategy", "string", ".spec.rollout.strategy", 1),
        Column("Weight", "integer", ".status.rollout.weight", 1),
        _MESSAGE,
    ]
    return _own(ModelService, "ms", ModelServiceSpec, ModelServiceStatus, columns, model_service.RULES, scale=True)


def _serving_runtime() -> Json:
    columns = [
        Column("Engine", "string", ".spec.engine"),
        Column("Multi", "boolean", ".spec.multiModel"),
        Column("Disabled", "boolean", ".spec.disabled"),
        _AGE,
        Column("Image", "string", ".spec.image", 1),
    ]
    return _own(ServingRuntime, "sr", ServingRuntimeSpec, None, columns, serving_runtime.RULES, scope="Cluster")


def _model_adapter() -> Json:
    columns = [
        Column("Service", "string", ".spec.service"),
        Column("Name", "string", ".status.servedName"),
        Column("Desired", "integer", ".status.desired"),
        Column("Loaded", "integer", ".status.loaded"),
        _STATUS,
        Column("Rollout", "string", ".status.rollout.phase"),
        _AGE,
        Column("Source", "string", ".spec.source", 1),
        Column("Version", "string", ".status.version", 1),
        Column("Weight", "integer", ".status.rollout.weight", 1),
        _MESSAGE,
    ]
    return _own(ModelAdapter, "ma", ModelAdapterSpec, ModelAdapterStatus, columns, model_adapter.RULES)


def _role_scale() -> Json:
    columns = [
        Column("Service", "string", ".spec.service"),
        Column("Role", "string", ".spec.role"),
        Column("Desired", "integer", ".spec.replicas"),
        Column("Ready", "integer", ".status.readyReplicas"),
        _AGE,
    ]
    return _own(RoleScale, "rscale", RoleScaleSpec, RoleScaleStatus, columns, role_scale.RULES, scale=True)


def _traffic_report() -> Json:
    """It has no spec: everything in it is observed."""
    columns = [Column("Pool", "string", ".pool"), Column("Picker", "string", ".picker"), Column("At", "date", ".at")]
    crd = _own(TrafficReport, "tr", None, None, columns)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    own = openapi_schema(TrafficReport)["properties"]
    schema["properties"] |= {k: v for k, v in own.items() if k not in schema["properties"]}
    return crd


def _queue() -> Json:
    columns = [
        Column("Parent", "string", ".spec.parent"),
        Column("Priority", "integer", ".spec.priority"),
        Column("Pending", "integer", ".status.pending"),
        Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
        _AGE,
    ]
    return _own(queue.Queue, "fq", queue.QueueSpec, queue.QueueStatus, columns, queue_rules.RULES, scope="Cluster")


def _benchmark() -> Json:
    of = ".status.conditions[?(@.type=="
    columns = [
        Column("Workers", "integer", ".status.workers"),
        Column("State", "string", ".status.state"),
        Column("Rate", "string", ".status.shown.rate"),
        Column("TTFT-p99", "string", ".status.shown.ttft"),
        Column("Goodput", "string", ".status.shown.goodput"),
        Column("Valid", "string", f'{of}"Valid")].status'),
        _AGE,
        Column("Kept", "string", f'{of}"ObjectiveKept")].status', 1),
        Column("Results", "string", ".status.results", 1),
        Column("Message", "string", ".status.message", 1),
    ]
    return _own(Benchmark, "bm", BenchmarkSpec, BenchmarkStatus, columns, benchmark.RULES)


def _own(
    kind: type[Kind],
    short: str,
    spec: type[Kind] | None,
    status: type[Kind] | None,
    columns: Sequence[Column],
    rules: Rules = MappingProxyType({}),
    *,
    scale: bool = False,
    scope: str = "Namespaced",
) -> Json:
    """The definition of one of our own kinds."""
    name = kind.__name__
    subresources: Json = {} if status is None else {"status": {}}
    if scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    parts = {} if spec is None else {"spec": openapi_schema(spec)}
    parts |= {} if status is None else {"status": openapi_schema(status)}
    schema: Json = {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": {
            "apiVersion": {"type": "string", "description": "Group and version of the kind."},
            "kind": {"type": "string", "description": "The kind."},
            "metadata": {"type": "object"},
            **parts,
        },
        **({"required": ["spec"]} if "spec" in parts and parts["spec"].get("required") else {}),
    }
    attach(schema, rules)
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [column.to_json() for column in columns],
        **({"subresources": subresources} if subresources else {}),
    }
    names = {
        "plural": f"{name.lower()}s", "singular": name.lower(), "kind": name, "listKind": f"{name}List",
        "shortNames": [short], "categories": ["fairlead"],
    }  # fmt: skip
    return _crd(GROUP, names, [version], scope=scope)


def _standards() -> list[Json]:
    return [_crd(d["group"], d["names"], d["versions"]) for d in _standard_definitions()]


@cache
def _standard_definitions() -> Sequence[Mapping[str, Any]]:
    text = resources.files("fairlead.api").joinpath("standards.yaml").read_text()
    return tuple(yaml.load(text, Loader=yaml.CSafeLoader))


def _crd(
    group: str, names: Mapping[str, Any], versions: Sequence[Mapping[str, Any]], scope: str = "Namespaced"
) -> Json:
    # Groups under k8s.io are protected: an API server wants to see an approval, or the word "unapproved".
    protected = group.endswith(".k8s.io")
    annotations = {"api-approved.kubernetes.io": "unapproved, mirrors the published definition"} if protected else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names['plural']}.{group}",
            "labels": {"app.kubernetes.io/part-of": "fairlead"},
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {"group": group, "scope": scope, "names": dict(names), "versions": [dict(v) for v in versions]},
    }
