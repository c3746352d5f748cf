"""What adoption writes: the pool of foreign workloads, the rule for names that their engines do not know, and the word
that each workload gets. Pure.

Owner references make the API server's garbage collection remove what was made when the workload goes, whether a
controller runs or not. They name no controller: nobody here owns the workload, nor it the pool's content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fairlead.api.inference_pool import ADAPTERS_ANNOTATION, MODELS_ANNOTATION
from fairlead.engines import RUNTIME_LABEL
from fairlead.serving.adoption.decide import AdoptedPool, Verdict
from fairlead.serving.names import ADOPTED_FROM_ANNOTATION, ADOPTED_LABEL
from fairlead.serving.render.labels import MANAGED_BY
from fairlead.serving.render.pools import PICKER_PORT
from fairlead.serving.upkeep import contains

Json = dict[str, Any]

OUR_ANNOTATIONS: Final = (MODELS_ANNOTATION, ADAPTERS_ANNOTATION, ADOPTED_FROM_ANNOTATION)


def pool_object(pool: AdoptedPool, picker: str = "fairlead-gateway") -> Json:
    """The InferencePool."""
    listed = (*pool.names, *((pool.target,) if pool.target and pool.target not in pool.names else ()))
    annotations = {
        MODELS_ANNOTATION: ",".join(listed),
        ADAPTERS_ANNOTATION: ",".join(pool.adapters),
        ADOPTED_FROM_ANNOTATION: ",".join(workload.told for workload in pool.workloads),
    }
    metadata = _metadata(pool, {RUNTIME_LABEL: pool.runtime})
    metadata["annotations"] = {key: value for key, value in annotations.items() if value}
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": dict(pool.selector)},
            "targetPorts": [{"number": pool.port}],
            "endpointPickerRef": {"name": picker, "port": {"number": PICKER_PORT}},
        },
    }


def rewrite_object(pool: AdoptedPool) -> Json | None:
    """The InferenceModelRewrite from the names that requests give to the one that the engine knows; None where it
    knows them."""
    if not pool.target:
        return None
    rules = [
        {"matches": [{"model": {"type": "Exact", "value": name}}], "targets": [{"modelRewrite": pool.target}]}
        for name in pool.names
        if name != pool.target
    ]
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {**_metadata(pool, {}), "name": f"adopted-{pool.name}"},
        "spec": {"poolRef": {"name": pool.name}, "rules": rules},
    }


def is_as_wanted(current: Mapping[str, Any] | None, wanted: Json) -> bool:
    """Whether nothing has to be written: labels and annotations of others may be there, a selector or rule may not."""
    if current is None or not contains(current, wanted):
        return False
    said = current["metadata"].get("annotations") or {}
    asked = wanted["metadata"].get("annotations") or {}
    selector = (current.get("spec") or {}).get("selector")
    return all((key in said) == (key in asked) for key in OUR_ANNOTATIONS) and selector == wanted["spec"].get(
        "selector"
    )


def word(verdict: Verdict) -> str:
    """The value of the workload's annotation: a condition in JSON, and the pool where it has one."""
    said = {
        "type": "Adopted",
        "status": "True" if verdict.is_served else "False",
        "reason": verdict.reason,
        "message": verdict.message,
        **({"pool": verdict.pool} if verdict.pool else {}),
    }
    return json.dumps(said, ensure_ascii=False)


def _metadata(pool: AdoptedPool, labels: Mapping[str, str]) -> Json:
    return {
        "name": pool.name,
        "namespace": pool.namespace,
        "labels": {ADOPTED_LABEL: "true", MANAGED_BY: "fairlead", **labels},
        "ownerReferences": [
            {"apiVersion": w.api_version, "kind": w.kind, "name": w.name, "uid": w.uid} for w in pool.workloads
        ],
    }
