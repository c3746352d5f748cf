"""The gateway's page: Fairlead's own as its picker writes it, and the names of others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest

from bench.server_side.pages import answer, looked_at, pages, serving
from fairlead.bench.server_side.gateway_page import gateway_reader
from fairlead.bench.server_side.observer import ServerObserver
from fairlead.clock import SYSTEM
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.flow import Reason
from fairlead.gateway.observe.admin import serve_admin
from fairlead.gateway.route import Completion, RequestHead
from patience import PATIENCE_S


def picker() -> Assembly:
    """Two pools, of which one was asked twice; something waits in each."""
    parts = Assembly(random=Random(1))
    for n, (key, asked) in enumerate({"blue/llama": 2, "green/qwen": 1}.items()):
        address = f"10.0.0.{n}:80"
        parts.registry.set_pool(Pool(key, (key,), (Endpoint(address),)))
        for _ in range(asked):
            found: list[object] = []
            head = RequestHead("POST", "/v1/chat/completions", {}, (address,))
            parts.director.decide_on_headers(head)
            body = {"model": key, "messages": [{"role": "user", "content": "hello"}]}
            parts.director.route(head, json.dumps(body).encode(), found.append)
            parts.director.completed(Completion(found[0].pick_id, 200, 1.0))  # type: ignore[attr-defined]
        parts.metrics.flow.waiting(key, 0, 3 + n, 100)
        parts.metrics.flow.sent(key, 0, 0.02)
        parts.metrics.flow.refused(key, 0, Reason.SATURATED, 0.2)
    parts.metrics.flow.saturations = lambda: (("blue/llama", 0.5), ("green/qwen", 1.25))
    return parts


def test_the_pickers_page_is_read() -> None:
    read = gateway_reader(None)(picker().metrics_page(), True)
    assert read.values["gateway_requests_total"] == 3
    assert read.values["gateway_queued_requests"] == 7
    assert read.values["gateway_dropped_total"] == 2
    assert read.values["gateway_in_flight_requests"] == 0
    assert read.values["gateway_ready_endpoints"] == 2
    assert read.values["gateway_saturation_ratio"] == 1.25
    assert read.histograms["queue"].count == 4 and read.histograms["decision"].count == 3


def test_one_pools_series_are_told_from_anothers() -> None:
    values = gateway_reader("blue/llama")(picker().metrics_page(), False).values
    assert values["gateway_requests_total"] == 2
    assert values["gateway_queued_requests"] == 3
    assert values["gateway_saturation_ratio"] == 0.5
    assert values["gateway_ready_endpoints"] == 1


def test_another_picker_is_read_by_the_names_that_it_has() -> None:
    page = b"""inference_objective_request_total{model_name="m",target_model_name="m"} 12
inference_objective_running_requests{model_name="m"} 4
inference_pool_ready_pods{name="llama"} 3
inference_pool_average_kv_cache_utilization{name="llama"} 0.5
inference_extension_flow_control_queue_size{fairness_id="a",priority="0",inference_pool="llama"} 2
inference_extension_flow_control_queue_size{fairness_id="b",priority="0",inference_pool="llama"} 1
inference_extension_scheduler_e2e_duration_seconds_bucket{le="0.001"} 9
inference_extension_scheduler_e2e_duration_seconds_bucket{le="+Inf"} 12
inference_extension_scheduler_e2e_duration_seconds_sum 0.02
inference_extension_scheduler_e2e_duration_seconds_count 12
"""
    read = gateway_reader("default/llama")(page, True)
    assert read.values == {
        "gateway_requests_total": 12, "gateway_in_flight_requests": 4, "gateway_ready_endpoints": 3,
        "gateway_queued_requests": 3,
    }  # fmt: skip
    assert read.histograms["decision"].count == 12


@pytest.mark.parametrize("page", [b"", b"up 1\n", b"\xff\x00{{{", b'llm_d_epp_request_running{x="y"} nan\n'])
def test_what_is_no_picker_says_nothing(page: bytes) -> None:
    read = gateway_reader(None)(page, True)
    assert dict(read.values) == {} and dict(read.histograms) == {}


async def test_it_is_looked_at_in_place_of_targets_that_stand_behind_it() -> None:
    async with serving(pages(answer(picker().metrics_page()))) as served:
        observer = ServerObserver(looked_at({"gateway": served.authority}))
        await observer.prepare()
        observer.begin(SYSTEM.monotonic_s())
        await served.reached(3)
        seen = await observer.end()
    assert {s.source for s in seen.series} == {"gateway"} and seen.notes == ()
    (queued,) = (s for s in seen.series if s.name == "gateway_queued_requests")
    assert set(queued.values) == {7.0}


async def test_the_page_on_the_socket_of_fairlead_up_is_looked_at(tmp_path: Path) -> None:
    socket = tmp_path / "picker-admin.sock"
    serving_it = asyncio.ensure_future(serve_admin(picker(), socket))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not socket.exists():  # noqa: ASYNC110 (made by the server)
                await asyncio.sleep(0.005)
        observer = ServerObserver(looked_at({"gateway": f"unix:{socket}"}))
        await observer.prepare()
        observer.begin(SYSTEM.monotonic_s())
        seen = await observer.end()
    finally:
        serving_it.cancel()
    assert seen.notes == ()
    (queued,) = (s for s in seen.series if s.name == "gateway_queued_requests")
    assert set(queued.values) == {7.0}
