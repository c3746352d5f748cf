"""`Queue`: what a team, or a part of one, may count on of the cluster, and how it shares what is left.

Queues form a tree. Gangs name a leaf in the label `fairlead.dev/queue`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fairlead.api.kind import GROUP, VERSION, Condition
from fairlead.api.kind import Kind as _Kind
from fairlead.api.structural import QUANTITY
from fairlead.kube.resources import Resource

QUEUES = Resource.of(f"{GROUP}/{VERSION}", "queues", "Queue", namespaced=False)

# Pods name their queue in a label, whose value has at most 63 characters.
MAX_NAME_LENGTH = 63
MAX_RESOURCES = 64

_NAME = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SECONDS = {"ge": 0, "le": 31_536_000}


class QueueResource(_Kind):
    """What a queue may have of one resource, as Kubernetes quantities (8, 500m, 64Gi)."""

    quota: Annotated[
        int | str | None,
        Meta(
            extra_json_schema={
                **QUANTITY,
                "description": "What the queue can count on: others who borrow it give it back. Where it is absent, "
                "nothing for a queue without queues below it, and the sum of theirs for others.",
            }
        ),
    ] = None
    over_quota_weight: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            extra_json_schema={
                "description": "Its part of what is left beyond quotas, relative to the queues beside it; "
                "0 for no claim to anything beyond the quota."
            },
        ),
    ] = 1.0
    limit: Annotated[
        int | str | None,
        Meta(
            extra_json_schema={
                **QUANTITY,
                "description": "What the queue, with those below it, never exceeds; absent for no limit.",
            }
        ),
    ] = None


class QueueSpec(_Kind):
    """Where a queue stands in the tree, and what it is entitled to."""

    parent: Annotated[
        str,
        Meta(
            max_length=MAX_NAME_LENGTH,
            pattern=_NAME,
            extra_json_schema={"description": "The queue that this one is part of; empty for the whole cluster."},
        ),
    ] = ""
    priority: Annotated[
        int,
        Meta(
            ge=-1_000_000_000,
            le=1_000_000_000,
            extra_json_schema={
                "description": "Of the queues beside each other, those of a higher priority get what is left beyond "
                "quotas first, and give back last."
            },
        ),
    ] = 0
    resources: Annotated[
        dict[str, QueueResource],
        Meta(
            extra_json_schema={
                "maxProperties": MAX_RESOURCES,
                "description": "By resource: cpu, memory, extended resources such as nvidia.com/gpu, and devices of a "
                "class as CLASS.deviceclass.resource.k8s.io/devices. Others are neither promised nor limited.",
            }
        ),
    ] = {}
    reclaim_min_runtime_seconds: (
        Annotated[
            int,
            Meta(
                **_SECONDS,
                extra_json_schema={
                    "description": "How long its gangs run before other queues may take back what they borrowed; "
                    "absent for the parent's value."
                },
            ),
        ]
        | None
    ) = None
    preempt_min_runtime_seconds: (
        Annotated[
            int,
            Meta(
                **_SECONDS,
                extra_json_schema={
                    "description": "How long its gangs run before more important ones of the same queue may take their "
                    "place; absent for the parent's value."
                },
            ),
        ]
        | None
    ) = None
    usage_half_life_seconds: Annotated[
        int,
        Meta(
            **_SECONDS,
            extra_json_schema={
                "description": "After this time past usage counts half when what is left is shared out; "
                "0 where the past does not matter."
            },
        ),
    ] = 0
    namespaces: Annotated[
        list[Annotated[str, Meta(max_length=63, pattern=_LABEL)]],
        Meta(
            max_length=256,
            extra_json_schema={
                "description": "Only gangs of these namespaces may use the queue, and those of them that name no queue "
                "belong to it; empty for all namespaces.",
                "x-kubernetes-list-type": "set",
            },
        ),
    ] = []


class QueueStatus(_Kind):
    """What the queue, with those below it, holds and waits for; amounts as quantities."""

    observed_generation: int = 0
    allocated: Annotated[
        dict[str, str], Meta(extra_json_schema={"description": "Resource to what its gangs hold."})
    ] = {}
    requested: Annotated[
        dict[str, str],
        Meta(extra_json_schema={"description": "Resource to what its gangs hold and wait for, within its limit."}),
    ] = {}
    fair_share: Annotated[
        dict[str, str],
        Meta(extra_json_schema={"description": "Resource to what it may have now, as the others want theirs too."}),
    ] = {}
    pending: Annotated[int, Meta(extra_json_schema={"description": "Gangs that wait."})] = 0
    usage: Annotated[
        dict[str, float],
        Meta(extra_json_schema={"description": "Resource to the part of the cluster that it used lately."}),
    ] = {}
    conditions: Annotated[
        list[Condition],
        Meta(
            extra_json_schema={
                "description": "Ready: whether gangs can be placed from it; if not, for the reason ParentMissing, "
                "Cycle or Invalid.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            }
        ),
    ] = []


class Queue(_Kind):
    """Part of the cluster that a team can count on, and how it shares the rest."""

    metadata: dict[str, Any]
    spec: QueueSpec = msgspec.field(default_factory=QueueSpec)
    status: QueueStatus = msgspec.field(default_factory=QueueStatus)
    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "Queue"
