"""What a gateway is told to answer itself, by status, reason and form; and whose turn it is."""

from __future__ import annotations

import json

import grpc
import pytest
from grpc_health.v1 import health_pb2

from gateway.conformance.gateway import Ask, PickerProcess, Report, health, running, until
from gateway.conformance.test_picks import REASON, refusal, route
from gateway.conformance.test_request import COMPLETIONS, MODES, completion, endpoint_of
from gateway.extproc.support import body, headers

FULL = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: queue-scorer
- type: concurrency-detector
  parameters: {maxConcurrency: 1}
flowControl:
  defaultRequestTTL: 1s
  saturationDetector: {pluginRef: concurrency-detector}
"""


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"no healthy upstream", 400), (b"", 400), (b"[]", 400), (b'{"model": 3}', 400), (b'{"prompt": "x"', 400)],
)
def test_bodies_that_are_no_requests(picker, ask, data, status):
    picker.pool(Report())
    ask.say(headers(path=COMPLETIONS, **MODES), body(data, end=True))
    answer = ask.hear()[0].immediate_response
    assert answer.status.code == status
    assert json.loads(answer.body)["error"]["message"]
    assert ask.rest() == []


def test_a_model_is_needed_where_the_api_says_so(picker, channel):
    addresses = picker.pool(Report())
    assert refusal(Ask(channel), b'{"prompt": "hello world"}')[0] == 400
    ask = Ask(channel).say(headers(path="/generate", **MODES), body(b'{"prompt": "hello world"}', end=True))
    assert endpoint_of(ask.hear()[0]) == addresses[0]
    ask.cancel()


def test_a_model_is_needed_where_there_are_several_pools(tmp_path):
    with running(PickerProcess(tmp_path, ())) as picker, picker.channel() as channel:
        pools = [{"key": f"ns/{n}", "models": [n], "endpoints": ["127.0.0.1:9"]} for n in "ab"]
        picker.write({"pools": pools})
        until(lambda: len(picker.state()["pools"]) == 2)
        assert refusal(Ask(channel), b'{"prompt": "x"}')[0] == 400
        assert refusal(Ask(channel), completion(model="c"))[0] == 404
        ask = Ask(channel).say(headers(path="/sleep", **MODES))
        assert ask.hear()[0].immediate_response.status.code == 404
        # The subset says which pool is meant.
        assert route(Ask(channel), model="a", subset=["127.0.0.1:9"]) == "127.0.0.1:9"


def test_what_is_not_cached_anywhere_is_refused_where_that_is_asked(picker, channel):
    picker.pool(Report(), Report())
    text = "It was the best of times, it was the worst of times. " * 50
    code, _, told = refusal(Ask(channel), completion(text), prefer="if-available")
    assert (code, told["error"]["code"]) == (412, "precondition_failed")
    first = route(Ask(channel), text=text)
    assert route(Ask(channel), text=text, prefer="If-Available") == first


@pytest.mark.parametrize("objective", ["x-llm-d-inference-objective", "x-gateway-inference-objective"])
def test_of_a_full_pool_the_more_important_goes_on_first_and_the_rest_is_refused_in_time(picker, channel, objective):
    (picker.folder / "full.yaml").write_text(FULL)
    report = Report()
    picker.pool(report, config="full.yaml", objectives={"low": -1, "high": 2})
    first = Ask(channel)
    route(first)
    report.running = 1
    asks = [Ask(channel) for _ in range(3)]
    for n, (ask, more) in enumerate(zip(asks, ({objective: "low"}, {}, {objective: "high"}), strict=True)):
        ask.say(headers(path=COMPLETIONS, **MODES, **more), body(completion(), end=True))
        until(lambda n=n: picker.state()["pools"][0]["queued"] == n + 1)
    first.cancel()
    assert asks[2].hear()[0].HasField("request_headers")
    for ask in asks[:2]:
        expired = ask.hear()[0].immediate_response
        assert expired.status.code == 429
        told = {h.header.key: h.header.raw_value.decode() for h in expired.headers.set_headers}
        assert told[REASON] == "rejected-ttl-expired"
        assert int(told["retry-after"]) >= 1
    asks[2].cancel()


def test_a_held_request_whose_client_leaves_takes_no_turn(picker, channel):
    (picker.folder / "full.yaml").write_text(FULL)
    report = Report()
    picker.pool(report, config="full.yaml")
    first = Ask(channel)
    route(first)
    report.running = 1
    gone = Ask(channel).say(headers(path=COMPLETIONS, **MODES), body(completion(), end=True))
    until(lambda: picker.state()["pools"][0]["queued"] == 1)
    gone.cancel()
    until(lambda: picker.state()["pools"][0]["queued"] == 0)
    first.cancel()
    until(lambda: picker.in_flight() == 0)


def test_objectives_and_tenants_are_told_apart_in_metrics(picker, channel):
    picker.pool(Report(), objectives={"important": 4})
    more = {"x-llm-d-inference-objective": "important", "x-llm-d-inference-fairness-id": "team"}
    ask = Ask(channel)
    route(ask, model="told-apart", **more)
    labels = {"model_name": "told-apart", "priority": "4", "fairness_id": "team"}
    assert picker.metric("llm_d_epp_request_total", **labels) == 1
    assert picker.metric("inference_objective_request_total", **labels) == 1
    assert picker.metric("inference_pool_ready_pods") == 1
    ask.cancel()


def test_a_nonsense_slo_names_its_header(picker, channel):
    code, _, told = refusal(Ask(channel), **{"x-llm-d-slo-ttft-ms": "soon"})
    assert code == 400
    assert "x-llm-d-slo-ttft-ms" in told["error"]["message"]


NAMES = ("", "liveness", "readiness", "inference-extension", "envoy.service.ext_proc.v3.ExternalProcessor")


@pytest.mark.parametrize("tls", [False, True])
def test_health_beside_the_processor_and_on_its_own_port(tmp_path, tls):
    with (
        running(PickerProcess(tmp_path, tls=tls)) as picker,
        picker.channel() as beside,
        grpc.insecure_channel(f"127.0.0.1:{picker.health_port}") as own,
    ):
        for channel in (beside, own):
            for name in NAMES:
                assert health(channel, name) == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as caught:
                health(channel, "nobody")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
