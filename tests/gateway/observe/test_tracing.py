"""Spans of decisions: which requests have one, what it says, and that the engine's spans hang below it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from random import Random

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.observe.tracing import NoTraces, OpenTelemetryTraces, traces_from_environment
from fairlead.gateway.route import RequestHead
from patience import PATIENCE_S

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"
BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}).encode()


def _route(ratio: float, **headers: str):
    exporter = InMemorySpanExporter()
    parts = Assembly(traces=OpenTelemetryTraces(SimpleSpanProcessor(exporter), ratio), random=Random(3))
    parts.registry.set_pool(Pool("ns/tiny", ("tiny",), (Endpoint("10.0.0.1:80"), Endpoint("10.0.0.2:80"))))
    found = []
    head = RequestHead("POST", "/v1/chat/completions", headers)
    assert parts.director.decide_on_headers(head) is None
    parts.director.route(head, BODY, found.append)
    return found[0], exporter.get_finished_spans()


def test_a_span_says_where_a_request_went_and_why():
    route, (span,) = _route(1.0, **{"x-request-id": "r1", "x-llm-d-inference-fairness-id": "team"})
    told = dict(span.attributes)
    assert span.name == "gateway.pick"
    assert told["fairlead.endpoint"] == route.pick.address
    assert told["fairlead.reason"] == route.pick.reason
    assert (told["fairlead.pool"], told["fairlead.fairness_id"], told["http.request.id"]) == ("ns/tiny", "team", "r1")
    assert told["fairlead.candidates"] == 2


def test_the_engines_spans_hang_below_ours_and_ours_below_the_clients():
    route, (span,) = _route(0.0, traceparent=SAMPLED)
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == "00f067aa0ba902b7"
    sent = dict(route.headers)["traceparent"]
    assert sent == f"00-{TRACE}-{span.context.span_id:016x}-01"


@pytest.mark.parametrize("headers", [{}, {"traceparent": NOT_SAMPLED}, {"traceparent": "garbage"}])
def test_what_is_not_sampled_has_no_span(headers):
    route, spans = _route(0.0, **headers)
    assert spans == ()
    assert dict(route.headers) == {}


def test_without_a_collector_nothing_is_traced(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(traces_from_environment(), NoTraces)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "often")
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER_ARG is 'often'"):
        traces_from_environment()


async def test_a_picker_process_sends_its_spans_to_a_collector(stack):
    got: list[str] = []
    arrived = asyncio.Event()

    async def collect(request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        got.extend(s.name for r in batch.resource_spans for scope in r.scope_spans for s in scope.spans)
        arrived.set()
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    await stack.add_engine("--ttft-ms", "0", "--itl-ms", "0")
    stack.publish()
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    stack.picker = await stack._spawn(
        sys.executable, "-m", "fairlead.gateway", "--endpoints", str(stack.folder / "endpoints.json"),
        "--data", str(stack.folder), env=environment,
    )  # fmt: skip
    await stack.start_envoy()
    await stack.until_ready()
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            stack.url + "/v1/chat/completions", data=BODY, headers={"content-type": "application/json"}
        ) as done,
    ):
        assert done.status == 200
    await asyncio.wait_for(arrived.wait(), PATIENCE_S)
    assert got == ["gateway.pick"]
    await runner.cleanup()
