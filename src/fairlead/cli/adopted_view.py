"""How adopted workloads look to people: those with the label, and what the controller says has become of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.cli.manifests import Json
from fairlead.cli.service_view import age
from fairlead.kube.client import Client
from fairlead.kube.errors import Forbidden, NotFound
from fairlead.kube.kinds import DEPLOYMENTS, PODS, STATEFUL_SETS
from fairlead.kube.resources import Resource

ADOPT_LABEL = "fairlead.dev/adopt"
ADOPTION_ANNOTATION = "fairlead.dev/adoption"
_LEADER_WORKER_SETS = Resource.of("leaderworkerset.x-k8s.io/v1", "leaderworkersets", "LeaderWorkerSet")
_KINDS = (*(r.as_unstructured() for r in (DEPLOYMENTS, STATEFUL_SETS, PODS)), _LEADER_WORKER_SETS)


async def read_adopted(client: Client, namespace: str | None) -> list[Json]:
    """The workloads with the label, with their kind; of all namespaces where none is given. Kinds that the server
    does not have or show are left out. Raises ApiError."""
    found: list[Json] = []
    for resource in _KINDS:
        try:
            items = (await client.list(resource, namespace, label_selector=f"{ADOPT_LABEL},{ADOPT_LABEL}!=false")).items
        except (NotFound, Forbidden):
            continue
        is_pod = resource.kind == "Pod"
        found += [{**raw, "kind": resource.kind} for raw in items if not (is_pod and _is_kept(raw))]
    return found


def adopted_rows(
    workloads: Iterable[Json], now_s: float, *, with_namespace: bool
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Header and rows of `fairlead get --adopted`."""
    header = ["WORKLOAD", "POOL", "READY", "ADOPTED", "REASON", "AGE", "MESSAGE"]
    rows = []
    for raw in workloads:
        meta, said = raw["metadata"], adoption_of(raw)
        row = [
            f"{raw['kind']}/{meta['name']}",
            said.get("pool") or "-",
            _ready(raw),
            said.get("status") or "Unknown",
            said.get("reason") or "NotSeenYet",
            age(meta["creationTimestamp"], now_s),
            said.get("message") or "no controller has looked at it: is `fairlead controllers` running?",
        ]
        rows.append([meta["namespace"], *row] if with_namespace else row)
    return (["NAMESPACE", *header] if with_namespace else header), rows


def adoption_of(raw: Json) -> Mapping[str, Any]:
    """What the controller says; empty where it has said nothing that can be read."""
    text = (raw["metadata"].get("annotations") or {}).get(ADOPTION_ANNOTATION, "")
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _ready(raw: Json) -> str:
    status = raw.get("status") or {}
    if raw["kind"] == "Pod":
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
        return f"{int(is_ready)}/1"
    return f"{status.get('readyReplicas', 0)}/{(raw.get('spec') or {}).get('replicas', 1)}"


def _is_kept(pod: Json) -> bool:
    """Whether somebody makes the pod, who is listed in its place."""
    return any(owner.get("controller") for owner in pod["metadata"].get("ownerReferences") or ())
