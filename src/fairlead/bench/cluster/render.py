"""The objects of a benchmark: a Secret with what its pods are told, a Service for their names, and their Job. Pure.

The Job is indexed: pod 0 coordinates, the others send. No pod is made a second time (`backoffLimitPerIndex: 0`): half
a run that is begun again measures something else. A worker that is lost is lost to the coordinator, which goes on and
says so; the run is over when the coordinator has succeeded (`successPolicy`).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from fairlead.api.benchmark import Benchmark
from fairlead.api.overlay import overlaid
from fairlead.bench.cluster import names
from fairlead.bench.cluster.calling import TOKEN, WITHIN

Json = dict[str, Any]

MAX_CONFIG_BYTES = 96 * 1024
"""It is told in the environment, where one variable has at most 128 KiB."""
GRACE_S = 60
"""From SIGTERM to SIGKILL: what is in flight has 5 s, then figures are made and results are sent."""
REQUESTS = {"cpu": "500m", "memory": "256Mi"}
"""Half a core is what a worker is planned for; without limits, as a client that is throttled measures itself."""


class Plan(msgspec.Struct, frozen=True):
    """What a benchmark comes to: its configuration as JSON, how many workers, and from which image."""

    config: bytes
    workers: int
    image: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.config).hexdigest()[:16]


def secret(benchmark: Benchmark, plan: Plan, token: str) -> Json:
    """With the token of the run, and its configuration, which may have keys in it."""
    data = {"token": token.encode(), "config": plan.config}
    return {
        **_head(benchmark, "v1", "Secret", {names.DIGEST_ANNOTATION: plan.digest}),
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def service(benchmark: Benchmark) -> Json:
    """Headless, for the names of pods that are not ready yet either."""
    return {
        **_head(benchmark, "v1", "Service"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.BENCHMARK_LABEL: benchmark.uid},
            "ports": [{"name": "bench", "port": names.PORT, "targetPort": names.PORT}],
        },
    }


def job(benchmark: Benchmark, plan: Plan) -> Json:
    """Of one coordinator and the workers. Raises OverlayError for a template that cannot be laid over their pods."""
    pods = plan.workers + 1
    return {
        **_head(benchmark, "batch/v1", "Job", {names.DIGEST_ANNOTATION: plan.digest}),
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimitPerIndex": 0,
            "backoffLimit": 2**31 - 1,
            "podReplacementPolicy": "Failed",
            "successPolicy": {"rules": [{"succeededIndexes": str(names.COORDINATOR)}]},
            "template": template(benchmark, plan),
        },
    }


def template(benchmark: Benchmark, plan: Plan) -> Json:
    """The pod template, with the benchmark's own over it. Raises OverlayError."""
    labels = {names.BENCHMARK_LABEL: benchmark.uid, "app.kubernetes.io/managed-by": "fairlead"}
    results, claim = benchmark.spec.results, benchmark.spec.results.claim
    container = {
        "name": names.CONTAINER,
        "image": plan.image,
        "args": ["bench-pod"],
        "env": _env(benchmark, plan),
        "ports": [{"name": "bench", "containerPort": names.PORT}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": dict(REQUESTS)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"volumeMounts": [{"name": "results", "mountPath": names.CLAIM_PATH}]} if claim else {}),
    }
    if results.url:
        container["env"].append({"name": names.RESULTS_ENV, "value": results.url})  # type: ignore[attr-defined]
    spec: Json = {
        "restartPolicy": "Never",
        "subdomain": names.job_name(benchmark.name),
        "terminationGracePeriodSeconds": GRACE_S,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        # Each worker is to have a node's network to itself, where there are enough.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {names.BENCHMARK_LABEL: benchmark.uid}},
            }
        ],
        "containers": [container],
        **({"volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": claim}}]} if claim else {}),
    }
    made = overlaid({"metadata": {"labels": labels}, "spec": spec}, benchmark.spec.template, "template")
    metadata = made.get("metadata") or {}
    return {**made, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}


def _env(benchmark: Benchmark, plan: Plan) -> list[Json]:
    name = names.job_name(benchmark.name)

    def of_secret(key: str) -> Json:
        return {"secretKeyRef": {"name": name, "key": key}}

    index = {"fieldRef": {"fieldPath": f"metadata.annotations['{names.INDEX_ANNOTATION}']"}}
    return [
        {"name": TOKEN, "valueFrom": of_secret("token")},
        {"name": names.CONFIG_ENV, "valueFrom": of_secret("config")},
        {"name": names.INDEX_ENV, "valueFrom": index},
        {"name": names.POD_IP_ENV, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": names.SERVICE_ENV, "value": names.coordinator_address(name, benchmark.namespace)},
        {"name": names.JOB_ENV, "value": name},
        {"name": names.WORKERS_ENV, "value": str(plan.workers)},
        {"name": WITHIN, "value": str(benchmark.spec.start_deadline_seconds)},
        *([{"name": names.RESULTS_ENV, "value": names.CLAIM_PATH}] if benchmark.spec.results.claim else []),
    ]


def _head(benchmark: Benchmark, api_version: str, kind: str, annotations: dict[str, str] | None = None) -> Json:
    owner = {
        "apiVersion": benchmark.api_version, "kind": benchmark.kind, "name": benchmark.name, "uid": benchmark.uid,
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    labels = {names.BENCHMARK_LABEL: benchmark.uid, "app.kubernetes.io/managed-by": "fairlead"}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": names.job_name(benchmark.name), "namespace": benchmark.namespace, "labels": labels,
            "ownerReferences": [owner], **({"annotations": annotations} if annotations else {}),
        },
    }  # fmt: skip
