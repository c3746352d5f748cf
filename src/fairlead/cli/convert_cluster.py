"""KServe's objects as a cluster has them."""

from __future__ import annotations

from typing import Any

from fairlead.cli.failure import Failed
from fairlead.kube.client import Client
from fairlead.kube.errors import Forbidden, NotFound
from fairlead.kube.resources import Resource
from fairlead.serving.convert.formats import SHIPPED

Json = dict[str, Any]

_GROUP = "serving.kserve.io"
_KINDS: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    ("InferenceService", "inferenceservices", ("v1beta1",), True),
    ("LLMInferenceService", "llminferenceservices", ("v1alpha2", "v1alpha1"), True),
    ("LLMInferenceServiceConfig", "llminferenceserviceconfigs", ("v1alpha2", "v1alpha1"), True),
    ("ServingRuntime", "servingruntimes", ("v1alpha1",), True),
    ("ClusterServingRuntime", "clusterservingruntimes", ("v1alpha1",), False),
    ("TrainedModel", "trainedmodels", ("v1alpha1",), True),
    ("InferenceGraph", "inferencegraphs", ("v1alpha1",), True),
    ("LocalModelCache", "localmodelcaches", ("v1alpha1",), False),
    ("LocalModelNamespaceCache", "localmodelnamespacecaches", ("v1alpha1",), True),
    ("LocalModelNodeGroup", "localmodelnodegroups", ("v1alpha1",), False),
)
_SYSTEM = "kserve"
"""Namespace in which KServe looks for configs that a service's own namespace does not have."""
_PRESETS = "kserve-config-"
"""Names of KServe's own configs begin so: what they say is Fairlead's own to know."""


async def read_foreign(client: Client, namespace: str | None) -> list[Json]:
    """Of one namespace or of all, without what KServe itself brings along: its runtimes and configs. Raises Failed,
    ApiError."""
    found: list[Json] = []
    for kind, plural, versions, namespaced in _KINDS:
        found += [obj for obj in await _listed(client, kind, plural, versions, namespaced, namespace) if _is_own(obj)]
    return found


async def _listed(
    client: Client, kind: str, plural: str, versions: tuple[str, ...], namespaced: bool, namespace: str | None
) -> list[Json]:
    wanted: list[str | None] = [namespace if namespaced else None]
    if kind == "LLMInferenceServiceConfig" and namespace not in (None, _SYSTEM):
        wanted.append(_SYSTEM)
    for version in versions:
        resource = Resource.of(f"{_GROUP}/{version}", plural, kind, namespaced=namespaced).as_unstructured()
        try:
            lists = [await client.list(resource, each) for each in wanted]
        except NotFound:
            continue
        except Forbidden as error:
            raise Failed(f"{plural} of KServe cannot be read: {error}; ask for the right, or give files") from error
        own = {"apiVersion": f"{_GROUP}/{version}", "kind": kind}
        return [{**own, **obj} for each in lists for obj in each.items]
    return []


def _is_own(obj: Json) -> bool:
    name = str(obj["metadata"]["name"])
    if obj["kind"] == "ClusterServingRuntime":
        return name not in SHIPPED
    return obj["kind"] != "LLMInferenceServiceConfig" or not name.startswith(_PRESETS)
