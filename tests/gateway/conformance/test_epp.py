"""`fairlead epp`: started with the flags of other pickers' manifests, for one pool of a real API server."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from gateway.conformance.gateway import Ask, Engine, PickerProcess, Report, health, until
from gateway.conformance.test_picks import route
from gateway.conformance.test_request import ENDPOINT, endpoint_of
from gateway.extproc.support import headers
from gateway.sources.conftest import Cluster, cluster  # noqa: F401 - the fixture
from gateway.sources.test_kube import ACCOUNT, NEW, objective, pod, pool
from patience import PATIENCE_S

EXAMPLE = Path(__file__).parents[3] / "examples" / "gateway"

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
schedulingProfiles:
- name: default
  plugins: [{pluginRef: queue-scorer, weight: 2}]
"""

READER = (
    {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "metrics-reader"},
        "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "metrics-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    },
)  # fmt: skip


def fairlead_epp(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", "epp", *argv], capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ((), "--pool-name"),
        (("--pool-name", "p", "--no-such-flag=1"), "--no-such-flag"),
        (("--pool-name", "p", "--pool-gro", "x"), "--pool-gro"),
        (("--pool-name", "p", "--endpoint-selector", "app=x"), "--endpoint-selector is not supported: make an"),
        (("--pool-name", "p", "--disable-endpoint-subset-filter"), "--disable-endpoint-subset-filter is not supported"),
        (("--pool-name", "p", "--metrics-cert-dir=/x"), "--metrics-cert-dir is not supported"),
        (("--pool-name", "p", "--lora-info-metric", "mine"), "--lora-info-metric is not supported"),
        (("--pool-name", "p", "--pool-group", "other"), "--pool-group"),
        (("--pool-name", "p", "--grpc-port", "0"), "a port is a number from 1 to 65535"),
        (("--pool-name", "p", "--drain-timeout", "30"), "a duration as 30s"),
        (("--pool-name", "p", "--secure-serving=maybe"), "true or false"),
        (("--pool-name", "p", "--config-file", "f", "--config-text", "x"), "exclude each other"),
        (("--pool-name", "p", "--cert-path", "/nowhere"), "/nowhere/tls.crt"),
    ],
)
def test_flags_that_cannot_be_followed_are_refused_by_name(argv, told):
    done = fairlead_epp(*argv)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_configuration_that_cannot_be_followed_ends_the_start(tmp_path):
    done = fairlead_epp("--pool-name", "p", "--data", str(tmp_path), "--config-text", "kind: Other")
    assert done.returncode == 2
    assert "apiVersion" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_example_is_accepted_and_its_flags_are_known(cluster: Cluster):  # noqa: F811
    from fairlead.cli.epp import options

    await cluster.install("inference.networking.k8s.io", NEW)
    shown = await cluster.kubectl("kustomize", str(EXAMPLE))
    parts = [part for part in shown.split("---\n") if "kind: HTTPRoute" not in part]
    told = await cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", text="---\n".join(parts))
    assert len(told.splitlines()) == len(parts)
    assert all(line.endswith(" created (server dry run)") for line in told.splitlines())
    deployment = json.loads(
        await cluster.kubectl(
            "create", "--dry-run=client", "-o", "json", "-f", "-",
            text=next(part for part in parts if "kind: Deployment" in part),
        )
    )  # fmt: skip
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["command"]) == ("fairlead", ["fairlead", "epp"])
    given = [one for one in container["args"] if not one.startswith("--data")]
    assert options(given).drain_s == 30.0


async def test_it_stands_in_for_the_picker_of_one_pool(cluster: Cluster, tmp_path):  # noqa: F811
    await cluster.install("inference.networking.k8s.io", NEW)
    report = Report()
    engine, other = Engine(report), Engine(Report())
    ours, theirs = pool("p", ""), pool("q", "")
    for one, which in ((ours, engine), (theirs, other)):
        del one["metadata"]["annotations"]
        one["spec"]["targetPorts"] = [{"number": int(which.address.rpartition(":")[2])}]
    await cluster.apply(ours, theirs, ACCOUNT, *READER)
    await cluster.apply(pod("p0", "p"), pod("q0", "q"), objective("high", 3, "p"))
    for name in ("p0", "q0"):
        await cluster.ready(name, "127.0.0.1")
    token = (await cluster.kubectl("create", "token", "default")).strip()
    picker = PickerProcess(tmp_path, tls=True, engines=[engine, other])
    try:
        await asyncio.to_thread(
            picker.launch, sys.executable, "-m", "fairlead.cli.main", "epp", "--pool-name", "p", "--pool-namespace",
            "default", "--pool-group", "inference.networking.k8s.io", "--zap-encoder", "json", "--config-text", CONFIG,
            "--ha-enable-leader-election", "--grpc-port", str(picker.port), "--grpc-health-port",
            str(picker.health_port), f"--metrics-port={picker.metrics_port}", "--v=4", "--tracing=false",
            "--secure-serving", "--emit-endpoint-scores", "--allow-experimental-plugins", "--drain-timeout", "1m30s",
            "--lora-info-metric", "vllm:lora_requests_info", "--kubeconfig", str(cluster.kubeconfig),
            "--data", str(tmp_path), "--bind", "127.0.0.1",
        )  # fmt: skip
        await asyncio.to_thread(_check, picker, engine.address, token)
    finally:
        await asyncio.to_thread(picker.stop)


def _check(picker: PickerProcess, address: str, token: str) -> None:
    with picker.channel() as channel, grpc.insecure_channel(f"127.0.0.1:{picker.health_port}") as probes:
        assert [p["key"] for p in picker.state()["pools"]] == ["default/p"]
        ask = Ask(channel)
        assert route(ask, model="whatever", x_llm_d_inference_objective="high") == address
        ask.cancel()
        ask = Ask(channel).say(headers("GET", "/v1/models", end=True))
        answer = ask.hear()[0]
        assert endpoint_of(answer) == address
        assert answer.dynamic_metadata["envoy.lb"][f"{ENDPOINT}-scores"][address] == 2.0
        ask.cancel()
        assert _metrics(picker, "")[0] == 401
        assert _metrics(picker, "Bearer nonsense")[0] == 401
        status, page = _metrics(picker, f"Bearer {token}")
        assert status == 200
        assert 'priority="3"' in page
        assert picker.process is not None
        picker.process.send_signal(signal.SIGTERM)
        until(lambda: health(probes, "readiness") == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert health(probes, "liveness") == health_pb2.HealthCheckResponse.SERVING
        # It drains: who still comes is served.
        ask = Ask(channel)
        assert route(ask) == address
        ask.cancel()
        picker.process.send_signal(signal.SIGTERM)
        assert picker.process.wait(PATIENCE_S) == 0


def _metrics(picker: PickerProcess, authorization: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", picker.metrics_port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics", headers={"Authorization": authorization} if authorization else {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text
