"""Reading a LeaderWorkerSet's specification, with the published defaults for what it leaves out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.controllers.pods import Object
from fairlead.embedded.controllers.rolling import resolve_count

_RECREATING = ("RecreateGroupOnPodRestart", "RecreateGroupAfterStart")


def replicas_of(lws: Mapping[str, Any]) -> int:
    """How many groups are wanted."""
    wanted = lws["spec"].get("replicas")
    return 1 if wanted is None else int(wanted)


def template_of(lws: Mapping[str, Any]) -> Object:
    template: Object = lws["spec"]["leaderWorkerTemplate"]
    return template


def size_of(lws: Mapping[str, Any]) -> int:
    """Pods of a group, the leader counted."""
    size = template_of(lws).get("size")
    return 1 if size is None else int(size)


def leader_template(lws: Mapping[str, Any]) -> Object:
    template = template_of(lws)
    leader: Object = template.get("leaderTemplate") or template["workerTemplate"]
    return leader


def is_shared_subdomain(lws: Mapping[str, Any]) -> bool:
    """Whether one headless Service has the pods of all groups; otherwise each group has its own."""
    config: Object = lws["spec"].get("networkConfig") or {}
    return config.get("subdomainPolicy") != "UniquePerReplica"


def starts_after_leader(lws: Mapping[str, Any]) -> bool:
    """Whether workers are made only once their leader is ready."""
    return str(lws["spec"].get("startupPolicy")) == "LeaderReady"


def recreates_groups(lws: Mapping[str, Any]) -> bool:
    """Whether a group is made anew when one of its pods is lost or restarts."""
    return str(template_of(lws).get("restartPolicy") or _RECREATING[0]) in _RECREATING


def waits_for_start(lws: Mapping[str, Any], annotation: str) -> bool:
    """Whether that holds only for groups all of whose pods have started; `annotation` says so as well."""
    asked: bool = annotation in (lws["metadata"].get("annotations") or {})
    return asked or bool(template_of(lws).get("restartPolicy") == _RECREATING[1])


def _rolling(lws: Mapping[str, Any]) -> Object:
    rolling: Object = (lws["spec"].get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}
    return rolling


def partition_of(lws: Mapping[str, Any]) -> int:
    """Groups with a lower index are not updated."""
    return int(_rolling(lws).get("partition") or 0)


def max_surge(lws: Mapping[str, Any]) -> int:
    """Groups above the wanted number during an update, never more than that number."""
    wanted = replicas_of(lws)
    return min(wanted, resolve_count(_rolling(lws).get("maxSurge", 0), wanted, up=True))


def max_unavailable(lws: Mapping[str, Any]) -> int:
    return resolve_count(_rolling(lws).get("maxUnavailable", 1), replicas_of(lws), up=False)
