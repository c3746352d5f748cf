"""Traffic reports in a real API server: written while a pool asks, deleted when it does not, gone with the pool."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from fairlead.api.traffic_report import REPORT_ANNOTATION, TRAFFIC_REPORTS
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.observe.reports import Reporter
from fairlead.gateway.route import Completion, RequestHead
from fairlead.gateway.sources.kube import KubeSource
from fairlead.kube.client import Client
from gateway.sources.test_kube import ACCOUNT, pod, pool

pytestmark = pytest.mark.xdist_group("traffic-reports")

RAW = TRAFFIC_REPORTS.as_unstructured()
GROUPS = ("inference.networking.k8s.io", "llm-d.ai")


@pytest.fixture
async def picker(cluster):
    """A picker of the cluster's pools, and its reporter, which writes when it is told to."""
    parts = Assembly(replica="Host_1-abc")
    cluster.registry = parts.registry
    async with Client.load(cluster.kubeconfig) as client:
        reporter = Reporter(client, parts.registry, parts.traffic, parts.loads.replica)
        source = asyncio.create_task(KubeSource(Client.load(cluster.kubeconfig)).run(parts.registry))
        try:
            yield parts, reporter, client
        finally:
            source.cancel()
            await asyncio.gather(source, return_exceptions=True)


async def _serving(cluster, reports, *groups):
    await cluster.install(*GROUPS, *groups)
    await cluster.apply(ACCOUNT, pool("a", "m", **{REPORT_ANNOTATION: reports}))
    labels = {"fairlead.dev/revision": "r1"}
    await cluster.apply(pod("p", "a", **labels))
    await cluster.ready("p", "10.0.0.1")
    await cluster.until(lambda: "default/a" in cluster.registry.pools and cluster.registry.pools["default/a"].endpoints)


def _request(parts):
    found = []
    head = RequestHead("POST", "/v1/chat/completions", {}, None, parts.clock.monotonic_s())
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True})
    parts.director.decide_on_headers(head)
    parts.director.route(head, body.encode(), found.append)
    route = found[0]
    times = {"first_byte_s": 0.5, "last_byte_s": 1.5, "output_tokens": 3, "served": route.pick.address}
    parts.director.completed(Completion(route.pick_id, 200, 1.5, **times))


async def _reports(client):
    return (await client.list(RAW, "default")).items


async def _annotate(cluster, value):
    text = f"{REPORT_ANNOTATION}={value}" if value else f"{REPORT_ANNOTATION}-"
    await cluster.kubectl("annotate", "--overwrite", "inferencepool", "a", text)
    await cluster.until(lambda: cluster.registry.pools["default/a"].reports == value)


async def test_a_report_follows_what_the_pool_asks(cluster, picker):
    parts, reporter, client = picker
    await _serving(cluster, "x/0", "fairlead.dev")
    _request(parts)
    await reporter.report()
    (report,) = await _reports(client)
    assert report["metadata"]["name"] == "a.host-1-abc"
    assert report["metadata"]["ownerReferences"][0]["uid"] == cluster.registry.pools["default/a"].uid
    assert (report["pool"], report["asked"], report["picker"]) == ("a", "x/0", "host-1-abc")
    (group,) = report["groups"]
    assert (group["revision"], group["endpoint"], group["requests"]) == ("r1", "10.0.0.1:8000", 1)
    assert group["ttft"]["n"] == 1

    version = report["metadata"]["resourceVersion"]
    await reporter.report()
    assert [r["metadata"]["resourceVersion"] for r in await _reports(client)] == [version]

    await _annotate(cluster, "y/0")
    await reporter.report()
    (report,) = await _reports(client)
    assert (report["asked"], report.get("groups", [])) == ("y/0", [])

    stale = {
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "TrafficReport", "pool": "a",
        "metadata": {"name": "a.dead-picker", "namespace": "default", "labels": report["metadata"]["labels"]},
    }  # fmt: skip
    await client.create(RAW, stale)
    await _annotate(cluster, "")
    await reporter.report()
    assert await _reports(client) == []

    await _annotate(cluster, "z/0")
    await reporter.report()
    assert len(await _reports(client)) == 1


async def test_without_the_kind_it_is_said_once_and_looked_for_again(cluster, picker, caplog):
    parts, reporter, client = picker
    await cluster.install(*GROUPS)
    await cluster.kubectl("delete", "crd", "trafficreports.fairlead.dev", "--ignore-not-found")
    await _serving(cluster, "x/0")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            _request(parts)
            await reporter.report()
    assert sum("traffic is not reported" in record.message for record in caplog.records) == 1
    await cluster.install("fairlead.dev")
    await cluster.until(lambda: _written(reporter, client))
    (report,) = await _reports(client)
    assert report["groups"][0]["requests"] == 3


async def _written(reporter, client):
    await reporter.report()
    try:
        return bool(await _reports(client))
    except Exception:
        return False
