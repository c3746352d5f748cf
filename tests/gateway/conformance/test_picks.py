"""Which endpoint is picked: subsets, the conformance tests' header, and the tables of llm-d's picker tests."""

from __future__ import annotations

import json

import pytest

from gateway.conformance.gateway import Ask, PickerProcess, Report, running
from gateway.conformance.test_request import COMPLETIONS, ENDPOINT, MODES, completion, endpoint_of
from gateway.extproc.support import body, frames, headers

REASON = "x-llm-d-request-dropped-reason"

CONFIG = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: lora-affinity-scorer
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: kv-cache-utilization-scorer
  - pluginRef: prefix-cache-scorer
  - pluginRef: lora-affinity-scorer
"""


def route(ask: Ask, *, text: str = "hello", model: str = "m", **more) -> str:
    ask.say(headers(path=COMPLETIONS, **MODES, **more), body(completion(text, model=model), end=True))
    return endpoint_of(ask.hear()[0])


def refusal(ask: Ask, data: bytes = b"", **more) -> tuple[int, dict[str, str], dict]:
    ask.say(headers(path=COMPLETIONS, **MODES, **more), body(data or completion(), end=True))
    answer = ask.hear()[0].immediate_response
    told = {h.header.key: h.header.raw_value.decode() for h in answer.headers.set_headers}
    assert ask.rest() == []
    return answer.status.code, told, json.loads(answer.body)


@pytest.mark.parametrize(
    ("reports", "model", "winner"),
    [
        ((Report(3, 0.2), Report(0, 0.1), Report(10, 0.2)), "my-model", 1),
        ((Report(0, 0.2, ("foo", "bar")), Report(0, 0.1, ("foo", "lora")), Report(10, 0.2, ("foo", "bar"))), "lora", 1),
        ((Report(0, 0.2, ("foo", "bar")), Report(50, 0.1, ("foo", "lora")), Report(10, 0.2, ("foo",))), "other", 0),
        ((Report(6, 0.2, ("foo", "bar", "lora")), Report(0, 0.85, ("foo",)), Report(10, 0.9, ("foo",))), "lora", 0),
        ((Report(1, 0.2, ("foo", "lora")), Report(1, 0.85, ("foo", "lora"))), "lora", 0),
    ],
    ids=["short queue", "active adapter", "adapter elsewhere", "adapter before queue", "free cache"],
)
def test_the_best_by_the_plugins_of_the_configuration(picker, ask, reports, model, winner):
    (picker.folder / "picker.yaml").write_text(CONFIG)
    adapters = sorted({name for report in reports for name in report.adapters})
    addresses = picker.pool(*reports, config="picker.yaml", adapters=adapters, models=[model, "my-model"])
    assert route(ask, model=model) == addresses[winner]


def test_with_the_passthrough_parser_no_body_is_read(picker, ask):
    parser = "- type: passthrough-parser\n"
    config = CONFIG.replace("schedulingProfiles", f"{parser}schedulingProfiles")
    (picker.folder / "passthrough.yaml").write_text(
        config + "requestHandler:\n  parsers:\n  - pluginRef: passthrough-parser\n"
    )
    addresses = picker.pool(Report(3, 0.2), Report(0, 0.1), Report(10, 0.2), config="passthrough.yaml")
    ask.say(headers(path=COMPLETIONS, **MODES))
    assert endpoint_of(ask.hear()[0]) == addresses[1]
    ask.say(body(b"passthrough-parser", end=True))
    assert frames(ask.hear())[0].body == b"passthrough-parser"


def test_a_prompt_goes_where_its_beginning_went_before(picker, channel):
    (picker.folder / "picker.yaml").write_text(CONFIG)
    picker.pool(Report(), Report(), Report(), config="picker.yaml")
    text = "the quick brown fox jumps over the lazy dog " * 60
    asks = [Ask(channel) for _ in range(8)]
    first = route(asks[0], text=text)
    assert {route(ask, text=text + str(n)) for n, ask in enumerate(asks[1:])} == {first}
    for ask in asks:
        ask.cancel()


SUBSETS = {
    "list": lambda a: [a[1], a[2]],
    "text": lambda a: f"{a[1]}, {a[2]}",
    "texts in a list": lambda a: [f"{a[1]},{a[2]}"],
    "with strangers": lambda a: ["192.168.1.99:8000", a[1], a[2], ""],
}


@pytest.mark.parametrize("form", SUBSETS)
def test_only_endpoints_of_the_subset_are_picked(picker, channel, form):
    addresses = picker.pool(Report(), Report(3), Report(3))
    asks = [Ask(channel) for _ in range(6)]
    picked = {route(ask, text=str(n), subset=SUBSETS[form](addresses)) for n, ask in enumerate(asks)}
    assert picked == set(addresses[1:])
    for ask in asks:
        ask.cancel()


def test_a_subset_of_hosts_leaves_all_their_ports(picker, ask):
    addresses = picker.pool(Report(), Report())
    assert route(ask, subset=["127.0.0.1"]) in addresses


@pytest.mark.parametrize("subset", [[], "", ["192.168.1.99:8000"], "192.168.1.99:8000", ["10.0.0.1"]])
def test_without_a_match_in_the_subset_there_is_no_endpoint(picker, ask, subset):
    picker.pool(Report(), Report())
    code, told, _ = refusal(ask, subset=subset)
    assert (code, told[REASON]) == (503, "rejected-no-endpoints")
    assert int(told["retry-after"]) >= 1


@pytest.mark.parametrize("subset", [[], ["192.168.1.99:8000"]])
def test_the_same_without_a_body(picker, ask, subset):
    picker.pool(Report(), Report())
    ask.say(headers("GET", "/some/path", end=True, subset=subset))
    assert ask.hear()[0].immediate_response.status.code == 503


def test_a_subset_of_one_is_kept_to_whatever_its_load(picker, ask):
    addresses = picker.pool(Report(), Report(), Report(10, 0.99))
    assert route(ask, subset=[addresses[2]]) == addresses[2]


def test_an_empty_pool_has_no_endpoint(picker, channel):
    picker.pool()
    for messages in ([headers("GET", "/some/path", end=True)], [headers(path="/some/path"), body(b"x", end=True)]):
        ask = Ask(channel).say(*messages)
        assert ask.hear()[0].immediate_response.status.code == 503
        ask.cancel()
    ask = Ask(channel)
    code, told, _ = refusal(ask)
    assert (code, told[REASON]) == (503, "rejected-no-endpoints")


def test_no_pool_at_all_has_no_endpoint(picker, channel):
    picker.write({"pools": []})
    while picker.state()["pools"]:
        pass
    try:
        for messages in ([headers("GET", "/some/path", end=True)], [headers(path="/some/path"), body(b"x", end=True)]):
            ask = Ask(channel).say(*messages)
            assert ask.hear()[0].immediate_response.status.code == 503
            ask.cancel()
        assert refusal(Ask(channel))[0] == 503
    finally:
        picker.publish()


def test_without_conformance_a_client_does_not_choose_its_endpoint(picker, channel):
    addresses = picker.pool(Report(), Report(50))
    for name in ("test-epp-endpoint-selection", ENDPOINT, f"{ENDPOINT}-subset", "x-fairlead-fallback-endpoint-1"):
        ask = Ask(channel)
        assert route(ask, **{name: addresses[1]}) == addresses[0]
        ask.cancel()


@pytest.fixture(scope="module")
def special(tmp_path_factory):
    """A picker that obeys the conformance tests, names fallbacks and tells scores, over TLS."""
    arguments = ("--one-pool", "--conformance", "--fallbacks", "2", "--scores")
    with running(PickerProcess(tmp_path_factory.mktemp("s"), arguments, tls=True)) as one:
        yield one


@pytest.fixture
def chosen(special):
    with special.channel() as channel:
        ask = Ask(channel)
        yield ask
        ask.cancel()


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_conformance_tests_choose(special, chosen, method, count):
    """Paths of those tests are their own, and their header goes before the gateway's subset."""
    addresses = special.pool(Report(), Report(), Report())
    wish = {"test-epp-endpoint-selection": ",".join(addresses[2 : 2 + count] or addresses[2:])}
    chosen.say(headers(method, "/primary-gateway-test", end=method == "GET", subset=[addresses[0]], **MODES, **wish))
    assert endpoint_of(chosen.hear()[0]) == addresses[2]


def test_a_list_of_endpoints_is_best_first(special, chosen):
    addresses = special.pool(Report(0), Report(9), Report(30))
    chosen.say(headers(path=COMPLETIONS, **MODES), body(completion(), end=True))
    answer = chosen.hear()[0]
    named = endpoint_of(answer).split(",")
    assert named[0] == addresses[0]
    assert sorted(named) == sorted(addresses)
    scores = answer.dynamic_metadata["envoy.lb"][f"{ENDPOINT}-scores"]
    assert set(scores) == set(addresses)
    assert max(scores, key=lambda address: scores[address]) == addresses[0]
