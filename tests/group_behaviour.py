"""What kubernetes-sigs/lws publishes of the pods of a group: the same for every controller that makes groups.

Source: `api/leaderworkerset/v1`, `pkg/utils/pod` and the integration tests of that project. The tests of the
LeaderWorkerSet controller and those of ModelService's own replicas hold their pods against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
PREFIX = "leaderworkerset.sigs.k8s.io/"
VARIABLES = ("LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX")


@dataclass(frozen=True, slots=True)
class Group:
    """One group as it should be: `domain` is the headless Service in which its members have their names."""

    set_name: str
    index: int
    size: int
    namespace: str
    domain: str

    @property
    def leader(self) -> str:
        return f"{self.set_name}-{self.index}"

    def name(self, worker: int) -> str:
        return self.leader if worker == 0 else f"{self.leader}-{worker}"

    def variables(self, worker: int) -> dict[str, str]:
        address = f"{self.leader}.{self.domain}.{self.namespace}"
        return dict(zip(VARIABLES, (address, str(self.size), str(worker)), strict=True))

    def labels(self, worker: int) -> dict[str, str]:
        key = hashlib.sha1(f"{self.namespace}/{self.leader}".encode()).hexdigest()
        return {
            f"{PREFIX}name": self.set_name,
            f"{PREFIX}group-index": str(self.index),
            f"{PREFIX}worker-index": str(worker),
            f"{PREFIX}group-key": key,
        }

    def annotations(self, worker: int) -> dict[str, str]:
        named = {f"{PREFIX}leader-name": self.leader} if worker else {}
        return {f"{PREFIX}size": str(self.size), **named}


def check_group(pods: Sequence[Object], group: Group) -> None:
    """All members are there, named, labelled and told of each other as published, and of one revision."""
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    assert by_name.keys() == {group.name(worker) for worker in range(group.size)}
    for worker in range(group.size):
        _check_member(by_name[group.name(worker)], group, worker)
    revisions = {pod["metadata"]["labels"].get(f"{PREFIX}template-revision-hash") for pod in pods}
    assert len(revisions) == 1 and revisions != {None}


def _check_member(pod: Object, group: Group, worker: int) -> None:
    meta, spec = pod["metadata"], pod["spec"]
    assert meta["labels"].items() >= group.labels(worker).items()
    found = {k: v for k, v in meta["annotations"].items() if k.startswith(PREFIX)}
    assert found == group.annotations(worker)
    assert (spec["hostname"], spec["subdomain"]) == (meta["name"], group.domain)
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        # First, so that the container's own may refer to them; once, whatever the template says.
        names = [v["name"] for v in container["env"]]
        assert tuple(names[:3]) == VARIABLES and len(set(names)) == len(names)
        assert {v["name"]: v.get("value") for v in container["env"][:3]} == group.variables(worker)
