"""What tokens cost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.config import ServerMetrics
from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.read import read_config
from fairlead.bench.server_side.cost import accelerators_of, cost_of, price_of, together
from fairlead.bench.server_side.figures import Price

TWO = Price(2.0, 2.0, "", "as configured")
positive = st.floats(0.01, 1e5)


def test_by_hand() -> None:
    """Eight accelerators at 2.50 an hour for half an hour are 10; 4 million tokens out and 16 million in."""
    cost = cost_of(Price(2.5, 5.0, "USD", "x"), 8, "as configured", 1800.0, 16e6, 4e6, 4.0)
    assert (cost.money.low, cost.money.high) == (10.0, 20.0)
    for of, low in (
        (cost.per_million_output, 2.5), (cost.per_million_total, 0.5), (cost.split_output, 1.25),
        (cost.split_input, 0.3125),
    ):  # fmt: skip
        assert of is not None and (of.low, of.high) == pytest.approx((low, 2 * low))


@given(positive, positive, positive, positive, st.floats(0.5, 20))
def test_the_split_divides_all_of_the_money(
    number: float, seconds: float, prompt: float, output: float, r: float
) -> None:
    cost = cost_of(TWO, number, "", seconds, prompt, output, r)
    assert cost.split_output is not None and cost.split_input is not None
    split = (cost.split_output.low * output + cost.split_input.low * prompt) / 1e6
    assert split == pytest.approx(cost.money.low)
    assert cost.split_output.low == pytest.approx(r * cost.split_input.low)


def test_stages_together_count_each_ones_accelerators() -> None:
    parts = [cost_of(TWO, 1, "", 3600.0, 0.0, 1e6, 4.0), cost_of(TWO, 3, "", 3600.0, 0.0, 1e6, 4.0)]
    whole = together([*parts], 7200.0, 0.0, 2e6)
    assert whole is not None and whole.accelerators == 2.0
    assert whole.per_million_output is not None and whole.per_million_output.low == pytest.approx(4.0)
    assert together([parts[0], None], 7200.0, 0.0, 2e6) is None
    free = cost_of(Price(0.0, 0.0, "", ""), 1, "", 10.0, 0.0, 5.0, 4.0)
    assert together([free], 10.0, 0.0, 5.0) == free


def test_prices_say_where_they_are_from() -> None:
    assert price_of(ServerMetrics()) is None
    listed = price_of(ServerMetrics(accelerator="H100"))
    assert listed is not None and listed.currency == "USD" and "list prices" in listed.provenance
    assert 0 < listed.low < listed.high
    own = price_of(ServerMetrics(accelerator="H100", price_per_hour=1.25))
    assert own is not None and own.low == own.high == 1.25


def test_accelerators_are_counted_by_what_is_known() -> None:
    assert accelerators_of(ServerMetrics(accelerators=4), 9.0, 9) == (4, "server.accelerators")
    of_engines = accelerators_of(ServerMetrics(accelerators_per_engine=2), 1.5, 9)
    assert of_engines is not None and of_engines[0] == 3.0
    assert accelerators_of(ServerMetrics(), 2.0, 0) is None
    assert accelerators_of(ServerMetrics(), None, 8) == (8.0, "devices on the pages of power")


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"engines": ["a"]}, r"server.engines\[0\] is 'a': write HOST:PORT"),
        ({"engines": ["ftp://a:1/m"]}, r"server.engines\[0\] is 'ftp://a:1/m': write HOST:PORT"),
        ({"gateway": "unix:here.sock"}, r"server.gateway is 'unix:here.sock': write unix: and the whole path"),
        ({"gateway": "http://u:p@a:1/metrics"}, "server.gateway has user and password in it: take them out"),
        ({"engine": "vlm"}, "server.engine is 'vlm', expected auto or one of .*vllm"),
        ({"pool": "llama"}, "server.pool is 'llama': write namespace/name"),
        ({"pool": "a/b", "engines": ["a:1"]}, "both engines and pool"),
        ({"every_s": 0.01}, "server.every_s is 0.01, and must be at least 0.1"),
        ({"price_per_hour": 2}, "not known of how many accelerators: give"),
        ({"accelerators": 2, "accelerators_per_engine": 1}, "both accelerators and accelerators_per_engine"),
        ({"accelerator": "hal"}, "no accelerator is named 'hal'; known: .*H100.*; or give server.price_per_hour"),
        ({"accelerator": "L4", "accelerators": 1}, "no known price: give server.price_per_hour"),
        ({"power_labels": {"pod": "a*"}}, "server.power_labels choose series of server.power, and there is none"),
        ({"key_env": "NO_SUCH_VARIABLE"}, "there is no such variable in the environment"),
        ({"key_file": "/nowhere"}, "server.key_file is '/nowhere': there is no such file"),
        ({"engins": []}, "server.engins is no field: did you mean engine"),
        ({"power_labels": {"pod": 3}}, "power_labels"),
    ],
)
def test_a_wrong_configuration_is_told_with_its_remedy(server: dict[str, Any], said: str) -> None:
    document = {
        "targets": [{"url": "http://127.0.0.1:1", "model": "m"}],
        "load": {"stages": [{"rate_per_s": 1, "seconds": 1}]},
        "server": server,
    }
    with pytest.raises(ConfigError, match=said):
        read_config(document)


def test_a_configuration_is_read_as_it_is_written() -> None:
    server = ServerMetrics(engines=("a:1",), power=("http://b:9400",), power_labels={"pod": ("a", "b"), "gpu": "0"})
    assert msgspec.convert(msgspec.to_builtins(server), ServerMetrics) == server
