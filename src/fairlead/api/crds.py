"""The CustomResourceDefinitions that Fairlead installs: its own kinds, and standards that a bare API server lacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from fairlead.api import queue
from fairlead.api.kind import GROUP, VERSION, Kind
from fairlead.api.model_adapter import ModelAdapter, ModelAdapterSpec, ModelAdapterStatus
from fairlead.api.model_service import MAX_NAME_LENGTH, ModelService, ModelServiceSpec, ModelServiceStatus
from fairlead.api.role_scale import RoleScale, RoleScaleSpec, RoleScaleStatus
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
        *_standards(),
    ]  # fmt: skip
    for crd in crds:
        digest = hashlib.sha256(json.dumps(crd["spec"], sort_keys=True).encode()).hexdigest()[:16]
        crd["metadata"].setdefault("annotations", {})[DIGEST] = digest
    return crds


def is_outdated(stored: Mapping[str, Any], crd: Mapping[str, Any]) -> bool:
    """Whether a stored definition is ours, but of another version of Fairlead."""
    digest = (stored["metadata"].get("annotations") or {}).get(DIGEST)
    return digest is not None and digest != crd["metadata"]["annotations"][DIGEST]


def _model_service() -> Json:
    spec = openapi_schema(ModelServiceSpec)
    rules = [
        {
            "rule": f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
            "message": f"metadata.name may have at most {MAX_NAME_LENGTH} characters: replicas are named after it",
        },
        {
            "rule": "!self.metadata.name.contains('.')",
            "message": "metadata.name must be a DNS label (no dots): replicas are named after it",
        },
        {
            "rule": "self.spec.runtime != 'vllm' || (has(self.spec.model.source) && self.spec.model.source != '')",
            "message": "runtime vllm needs a model source: a folder or a URL such as hf://org/name",
            "fieldPath": ".spec.model.source",
        },
    ]
    columns = [
        ("Model", "string", ".spec.model.name"),
        ("Runtime", "string", ".status.runtime"),
        ("Desired", "integer", ".spec.replicas"),
        ("Ready", "integer", ".status.readyReplicas"),
        ("Updated", "integer", ".status.updatedReplicas"),
        ("Status", "string", '.status.conditions[?(@.type=="Ready")].reason'),
        ("Rollout", "string", ".status.rollout.phase"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    return _own(ModelService, "ms", spec, ModelServiceStatus, columns, rules, scale=True)


def _serving_runtime() -> Json:
    spec = openapi_schema(ServingRuntimeSpec)
    columns = [
        ("Engine", "string", ".spec.engine"),
        ("Multi", "boolean", ".spec.multiModel"),
        ("Disabled", "boolean", ".spec.disabled"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    return _own(ServingRuntime, "sr", spec, None, columns, scope="Cluster")


def _model_adapter() -> Json:
    columns = [
        ("Service", "string", ".spec.service"),
        ("Name", "string", ".status.servedName"),
        ("Desired", "integer", ".status.desired"),
        ("Loaded", "integer", ".status.loaded"),
        ("Status", "string", '.status.conditions[?(@.type=="Ready")].reason'),
        ("Rollout", "string", ".status.rollout.phase"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    return _own(ModelAdapter, "ma", openapi_schema(ModelAdapterSpec), ModelAdapterStatus, columns)


def _role_scale() -> Json:
    columns = [
        ("Service", "string", ".spec.service"),
        ("Role", "string", ".spec.role"),
        ("Desired", "integer", ".spec.replicas"),
        ("Ready", "integer", ".status.readyReplicas"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    return _own(RoleScale, "rscale", openapi_schema(RoleScaleSpec), RoleScaleStatus, columns, scale=True)


def _traffic_report() -> Json:
    """It has no spec: everything in it is observed."""
    columns = [("Pool", "string", ".pool"), ("Picker", "string", ".picker"), ("At", "date", ".at")]
    crd = _own(TrafficReport, "tr", None, None, columns)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    own = openapi_schema(TrafficReport)["properties"]
    schema["properties"] |= {k: v for k, v in own.items() if k not in schema["properties"]}
    return crd


def _own(
    kind: type[Kind],
    short: str,
    spec: Json | None,
    status: type[Kind] | None,
    columns: Sequence[tuple[str, str, str]],
    rules: Sequence[Json] = (),
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
    schema: Json = {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": {
            "apiVersion": {"type": "string", "description": "Group and version of the kind."},
            "kind": {"type": "string", "description": "The kind."},
            "metadata": {"type": "object"},
            **({"spec": spec} if spec is not None else {}),
            **({"status": openapi_schema(status)} if status is not None else {}),
        },
        **({"required": ["spec"]} if spec is not None and spec.get("required") else {}),
        **({"x-kubernetes-validations": list(rules)} if rules else {}),
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [{"name": n, "type": t, "jsonPath": p} for n, t, p in columns],
        **({"subresources": subresources} if subresources else {}),
    }
    names = {
        "plural": f"{name.lower()}s", "singular": name.lower(), "kind": name, "listKind": f"{name}List",
        "shortNames": [short], "categories": ["fairlead"],
    }  # fmt: skip
    return _crd(GROUP, names, [version], scope=scope)


def _queue() -> Json:
    spec = openapi_schema(queue.QueueSpec)
    resources = spec["properties"]["resources"]
    resources["x-kubernetes-validations"] = [
        {
            # Anything that reads the names costs more than an API server grants: their length is not limited otherwise.
            "rule": "self.all(name, size(name) > 0 && size(name) <= 317)",
            "message": "resources are named as in a pod (cpu, memory, nvidia.com/gpu), or "
            "CLASS.deviceclass.resource.k8s.io/devices for the devices of a class",
        }
    ]
    resources["additionalProperties"]["x-kubernetes-validations"] = [
        *(_not_negative(field, remedy) for field, remedy in _REMEDIES.items()),
        {
            # Texts are not compared: to read quantities costs more than an API server grants.
            "rule": "!has(self.quota) || !has(self.limit) || type(self.quota) == string || "
            "type(self.limit) == string || int(self.quota) <= int(self.limit)",
            "message": "the limit is below the quota: raise limit, or lower quota",
            "fieldPath": ".limit",
        },
    ]
    rules = [
        {
            "rule": f"size(self.metadata.name) <= {queue.MAX_NAME_LENGTH}",
            "message": f"metadata.name may have at most {queue.MAX_NAME_LENGTH} characters: "
            "pods name their queue in a label",
        },
        {
            "rule": "!has(self.spec) || !has(self.spec.parent) || self.spec.parent != self.metadata.name",
            "message": "a queue cannot be its own parent: name another, or leave parent out",
            "fieldPath": ".spec.parent",
        },
    ]
    columns = [
        ("Parent", "string", ".spec.parent"),
        ("Priority", "integer", ".spec.priority"),
        ("Pending", "integer", ".status.pending"),
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
        ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    return _own(queue.Queue, "fq", spec, queue.QueueStatus, columns, rules, scope="Cluster")


_REMEDIES = {"quota": "leave it out for nothing to count on", "limit": "leave it out for no limit"}


def _not_negative(field: str, remedy: str) -> Json:
    return {
        "rule": f"!has(self.{field}) || "
        f"(type(self.{field}) == string ? !self.{field}.startsWith('-') : self.{field} >= 0)",
        "message": f"{field} may not be negative: {remedy}",
        "fieldPath": f".{field}",
    }


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
