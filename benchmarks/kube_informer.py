"""How many pod events per second an informer takes from the wire into its indexed store, with handlers told.

The stream is prepared beforehand: pods as a kubelet leaves them (about 4 kB), each modified again and again, cut into
the chunks that a socket gives. Time covers splitting, decoding, four indexes and a handler.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.store import by_label, by_namespace, by_owner_uid
from fairlead.kube.transport import Answer
from harness.report import Figure, arguments, report

_CHUNK_BYTES = 2**16


def _pod(number: int, version: int) -> dict[str, Any]:
    name = f"llama-70b-{number // 8:04d}-{number % 8}"
    probe = {"httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5, "timeoutSeconds": 1}
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    volume_mounts = [
        {"name": "models", "mountPath": "/models", "readOnly": True},
        {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
    ]
    container = {
        "name": "engine", "image": "registry.example/vllm:v0.20", "args": ["--model", "/models/llama"],
        "env": [{"name": f"VARIABLE_{i}", "value": f"value-{i}"} for i in range(8)],
        "ports": [{"name": "http", "containerPort": 8000, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "8", "memory": "64Gi"}, "requests": {"cpu": "8", "memory": "64Gi"}},
        "readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe, "volumeMounts": volume_mounts,
        "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent",
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": f"team-{number % 10}", "uid": f"00000000-0000-0000-0000-{number:012d}",
            "resourceVersion": str(version), "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1,
            "labels": {"app": "llama-70b", "replica": str(number // 8), "pod-template-hash": "7d9c6b5f8"},
            "annotations": {"fairlead.dev/revision": "3"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "llama-70b", "uid": f"owner-{number // 8}",
                "controller": True, "blockOwnerDeletion": True,
            }],
            "managedFields": [{
                "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": {f"f:field{i}": {".": {}, "f:value": {}} for i in range(12)}},
            }],
        },
        "spec": {
            "containers": [container], "nodeName": f"node-{number % 100}", "restartPolicy": "Always",
            "serviceAccountName": "default", "schedulerName": "default-scheduler", "priority": 0,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}],
            "volumes": [{"name": "models", "emptyDir": {}}, {"name": "token", "projected": {"sources": []}}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.1.0.1",
            "startTime": "2026-01-01T00:00:00Z", "qosClass": "Guaranteed", "conditions": conditions,
            "containerStatuses": [{
                "name": "engine", "ready": True, "restartCount": 0, "image": "registry.example/vllm:v0.20",
                "imageID": "sha256:0", "started": True, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                "lastState": {}, "containerID": "containerd://0",
            }],
        },
    }  # fmt: skip


def _stream(pods: int, events: int) -> list[bytes]:
    """The chunks of a watch over `events` events about `pods` pods."""
    chosen = random.Random(7)
    lines = []
    for version in range(1, events + 1):
        number = version - 1 if version <= pods else chosen.randrange(pods)
        kind = "ADDED" if version <= pods else "MODIFIED"
        lines.append(msgspec.json.encode({"type": kind, "object": _pod(number, version)}) + b"\n")
    whole = b"".join(lines)
    return [whole[i : i + _CHUNK_BYTES] for i in range(0, len(whole), _CHUNK_BYTES)]


class _Recorded:
    """A transport that lists nothing and whose only watch is a recording."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = list(chunks)

    async def request(self, *_: Any, **__: Any) -> Answer:
        return Answer(200, {}, b'{"metadata":{"resourceVersion":"0"},"items":[]}')

    @asynccontextmanager
    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[_Recorded]:
        yield self

    async def iter_any(self) -> AsyncIterator[bytes]:
        while self._chunks:
            yield self._chunks.pop(0)
        await asyncio.Event().wait()


async def _events_per_s(chunks: list[bytes], events: int) -> float:
    client = Client(Credentials("http://recorded"))
    client.transport = _Recorded(chunks)  # type: ignore[assignment]
    seen = 0
    finished = asyncio.Event()

    def count(_: Pod) -> None:
        nonlocal seen
        seen += 1
        if seen == events:
            finished.set()

    informer = Informer(
        client,
        PODS,
        indexes={
            "namespace": by_namespace,
            "owner": by_owner_uid,
            "app": by_label("app"),
            "node": lambda pod: (pod.spec.node_name,),
        },
        streaming_list=False,
    )
    informer.add_handler(Handler.every(count))
    started_s = SYSTEM.monotonic_s()
    running = asyncio.create_task(informer.run())
    async with asyncio.timeout(60):
        await finished.wait()
    elapsed_s = SYSTEM.monotonic_s() - started_s
    running.cancel()
    return events / elapsed_s


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--events", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chunks = _stream(options.pods, options.events)
    size = sum(map(len, chunks)) / options.events
    rates = [asyncio.run(_events_per_s(chunks, options.events)) for _ in range(options.rounds)]
    figures = [
        Figure("pod events decoded and indexed", statistics.median(rates), "1/s", 20_000, "higher"),
        Figure("bytes per event", size, "B"),
        Figure("stream rate", statistics.median(rates) * size / 1e6, "MB/s", better="higher"),
    ]
    report(figures, options.json, f"median of {options.rounds} rounds of {options.events} events")


if __name__ == "__main__":
    main()
