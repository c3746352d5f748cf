"""What is watched while it scales, and loads of another time or size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.config import OpenLoop
from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.read import read_config
from fairlead.bench.config.stretching import stretched
from fairlead.bench.load.stages import stages
from fairlead.bench.presets import PRESETS, preset

BASE: dict[str, Any] = {
    "targets": [{"url": "http://127.0.0.1:1", "model": "m"}],
    "load": {"kind": "open", "stages": [{"rate_per_s": 1, "seconds": 1}]},
}


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"watch": []}, r"scaling\.watch is empty: name what is scaled"),
        ({"watch": ["vllm"]}, r"scaling\.watch\[0\] is 'vllm': write Kind/namespace/name"),
        ({"watch": ["D/n/w", "D/n/w/x"]}, r"scaling\.watch\[1\] is 'D/n/w/x': write"),
        ({"watch": ["D//w"]}, r"scaling\.watch\[0\] is 'D//w': write"),
        ({"watch": ["D/ w"]}, r"scaling\.watch\[0\] is 'D/ w': write"),
        ({"watch": ["D/w", "D/w"]}, r"scaling\.watch\[1\] is 'D/w', which is there already"),
        ({}, r"scaling\.watch is missing"),
        ({"watch": ["D/w"], "every_s": 0}, r"scaling\.every_s is 0"),
        ({"watch": ["D/w"], "window_s": 3}, r"scaling\.window_s is no field"),
    ],
)
def test_mistakes_are_named_with_field_and_value(scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config({**BASE, "scaling": scaling})


def test_what_is_right_is_read() -> None:
    config = read_config({**BASE, "scaling": {"watch": ["Deployment/n/w", "lws/s"], "price_per_hour": 2}})
    assert config.scaling is not None and config.scaling.price_per_hour == 2.0
    assert config.scaling.watch == ("Deployment/n/w", "lws/s")


def load_of(document: dict[str, Any]) -> OpenLoop:
    load = read_config({**BASE, **document}).load
    assert isinstance(load, OpenLoop)
    return load


@given(st.floats(0.01, 20), st.floats(0.1, 50))
def test_a_stretched_load_has_the_same_shape(time: float, size: float) -> None:
    before = stages(load_of(preset("autoscale")))
    after = stages(load_of(stretched(preset("autoscale"), time, size)))
    for one, two in zip(before, after, strict=True):
        assert (two.begin_s, two.end_s) == (pytest.approx(one.begin_s * time), pytest.approx((one.end_s or 0) * time))
        assert two.intended == pytest.approx(one.intended * size)
        assert (two.to is None) == (one.to is None) and two.to == pytest.approx(one.to and one.to * size)


def test_users_stay_whole_and_traces_change_their_speed() -> None:
    closed = {"load": {"kind": "closed", "stages": [{"users": 3, "seconds": 60, "ramp_s": 10}]}}
    (stage,) = stretched(closed, 0.5, 0.1)["load"]["stages"]
    assert stage == {"users": 1, "seconds": 30.0, "ramp_s": 5.0}
    assert closed["load"]["stages"][0]["seconds"] == 60, "what was given is not changed"
    assert stretched({"load": {"kind": "trace", "speed": 2.0}}, 0.25)["load"]["speed"] == 8.0


@pytest.mark.parametrize(
    ("document", "factors", "said"),
    [
        ({}, (0.5, 1.0), "there is no load"),
        ({"load": {"kind": "search"}}, (0.5, 1.0), r"load\.kind is 'search', which has no stages"),
        ({"load": {"kind": "trace"}}, (1.0, 2.0), r"load\.kind is 'trace', which has no stages"),
        (BASE, (0.0, 1.0), "0 times its time"),
        (BASE, (1.0, -1.0), "-1 times its size"),
        (BASE, (float("nan"), 1.0), "nan times its time"),
    ],
)
def test_what_cannot_be_stretched_is_refused(document: dict[str, Any], factors: tuple[float, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        stretched(document, *factors)


def test_the_preset_is_long_enough_for_autoscalers_and_goes_up_and_down() -> None:
    found = stages(load_of(PRESETS["autoscale"].document))
    rates = [plan.intended for plan in found]
    assert found[-1].end_s == 1200 and max(rates) == 12 * rates[0] and rates[-1] == rates[0]
    # Autoscalers wait for five minutes (HorizontalPodAutoscaler's default) before they scale down.
    assert sum((plan.end_s or 0) - plan.begin_s for plan in found[-2:]) > 300
