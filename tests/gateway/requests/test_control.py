"""Control headers as typed values."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.protocol import CONTROL_HEADERS
from fairlead.gateway.requests import BadHeader, Control, read_control, session_token


def test_a_request_without_control_headers():
    assert read_control({}) == read_control({"x-request-id": "1"}) == Control()
    assert Control().fairness_id == "default-flow"


@pytest.mark.parametrize(
    ("new", "old", "attribute"),
    [
        ("x-llm-d-inference-objective", "x-gateway-inference-objective", "objective"),
        ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id", "fairness_id"),
        ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite", "rewrite"),
    ],
)
def test_new_names_win_over_old_ones(new, old, attribute):
    assert getattr(read_control({old: "o"}), attribute) == "o"
    assert getattr(read_control({old: "o", new: "n"}), attribute) == "n"
    assert getattr(read_control({old: "o", new: ""}), attribute) == "o"


def test_slos_are_seconds():
    control = read_control({"x-llm-d-slo-ttft-ms": "250", "x-slo-tpot-ms": " 12.5 "})
    assert (control.ttft_slo_s, control.itl_slo_s) == (0.25, 0.0125)
    assert read_control({"x-llm-d-slo-ttft-ms": "0"}).ttft_slo_s is None
    assert read_control({"x-llm-d-slo-ttft-ms": "100", "x-slo-ttft-ms": "900"}).ttft_slo_s == 0.1


@pytest.mark.parametrize("value", ["fast", "-1", "nan", "inf", "1e99", "1,000", "0x10", "200ms", "²"])
@pytest.mark.parametrize("name", ["x-llm-d-slo-ttft-ms", "x-slo-ttft-ms", "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"])
def test_nonsense_in_slos_is_refused_by_name(name, value):
    with pytest.raises(BadHeader, match=name) as caught:
        read_control({name: value})
    assert caught.value.header == name


def test_session_tokens_lead_back_to_a_pod():
    assert read_control({"x-session-token": session_token("ns/pod-0")}).session_endpoint == "ns/pod-0"
    unpadded = base64.urlsafe_b64encode(b"ns/pod>").decode().rstrip("=")
    assert read_control({"x-session-token": unpadded}).session_endpoint == "ns/pod>"


@pytest.mark.parametrize(
    "token", ["", "?", "bm8tc2xhc2g=", "L3BvZA==", "bnMv", "/w==", "YS9iL2M=", "bnMvcG9kCg==", "A" * 5000]
)
def test_tokens_that_are_none_are_passed_over(token):
    assert read_control({"x-session-token": token}).session_endpoint == ""


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("if-available", True), ("respond-async, If-Available; wait=1", True), ("if-availables", False), ("", False)],
)
def test_preferences(value, wanted):
    assert read_control({"prefer": value}).if_available is wanted


@given(st.dictionaries(st.sampled_from(sorted(CONTROL_HEADERS)), st.text(max_size=600)))
def test_headers_of_any_kind_are_read_or_refused(headers):
    try:
        control = read_control(headers)
    except BadHeader:
        return
    for text in (control.objective, control.fairness_id, control.rewrite, control.session_id):
        assert len(text) <= 256
    assert control.fairness_id
    assert control.ttft_slo_s is None or 0 < control.ttft_slo_s <= 86_400
