"""The pods of a service's own gangs, against what kubernetes-sigs/lws publishes of groups."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.api import ModelService
from fairlead.serving.render import replica_pods
from fairlead.serving.render.network import headless_service
from fairlead.serving.resolve import ClusterFacts, resolve_service
from fairlead.serving.store.mount import StoreFacts
from group_behaviour import Group, check_group

FACTS = ClusterFacts(store=StoreFacts(fetch_image="fairlead"), kv_events=False)
INIT = {"name": "prepare", "image": "a", "env": [{"name": "LWS_WORKER_INDEX", "value": "mine"}]}


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("ordinal", [0, 3])
@pytest.mark.parametrize("overlay", [{}, {"podTemplate": {"spec": {"initContainers": [INIT]}}}])
def test_members_have_what_their_programs_look_for(size: int, ordinal: int, overlay: dict[str, Any]) -> None:
    spec = {
        "model": {"name": "tiny", "source": "hf://a/b"}, "runtime": "vllm",
        "parallelism": {"tensor": 4, "hosts": size}, **overlay,
    }  # fmt: skip
    raw = {"metadata": {"name": "chat", "namespace": "prod", "uid": "u", "generation": 1}, "spec": spec}
    service = msgspec.convert(raw, ModelService)
    resolved = resolve_service(service, (), FACTS)
    prefix = f"chat-{resolved.revision[:6]}"
    pods = replica_pods(service, resolved, "unified", f"{prefix}-{ordinal}", ordinal, "", "stable")
    made = headless_service(service, resolved)
    assert made is not None and made["spec"]["clusterIP"] == "None" and made["spec"]["publishNotReadyAddresses"]
    check_group(pods, Group(prefix, ordinal, size, "prod", made["metadata"]["name"]))
