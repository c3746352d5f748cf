"""Endpoints of one kind: equal machines are taken for equal, different ones told apart, changes noticed."""

import math
import random

import pytest

from fairlead.gateway.latency import LatencyPredictor
from fairlead.gateway.load import InFlight


def serve(predictor, rng, address, slowness=1.0, noise=0.4):
    uncached, running = int(rng.expovariate(1 / 1500)), rng.randrange(40)
    factor = slowness * math.exp(rng.gauss(0, noise))
    request = InFlight(address, 0.0, uncached, uncached, 200.0, "", running_then=running)
    ttft_s = 0.03 + 5e-5 * uncached + 1e-3 * running
    return predictor.observe(request, factor * ttft_s, factor * (0.01 + 2e-4 * running))


def typical(speed):
    return speed.overhead_s + 1500 * speed.prefill_token_s + 20 * speed.ttft_request_s


def spread(predictor, addresses):
    values = [typical(predictor.speed_of(a)) for a in addresses]
    return max(values) / min(values)


@pytest.mark.parametrize("seed", range(5))
def test_equal_machines_are_taken_for_equal(seed):
    rng, predictor, addresses = random.Random(seed), LatencyPredictor(), [f"e{n}" for n in range(8)]
    for _ in range(1600):
        serve(predictor, rng, rng.choice(addresses))
    assert spread(predictor, addresses) < 1.1
    assert typical(predictor.speed_of("e0")) == pytest.approx(0.125, rel=0.25)


@pytest.mark.parametrize("slowness", [0.4, 2.5])
def test_different_machines_are_told_apart(slowness):
    rng, predictor, addresses = random.Random(1), LatencyPredictor(), [f"e{n}" for n in range(8)]
    for _ in range(1600):
        address = rng.choice(addresses)
        serve(predictor, rng, address, slowness if address < "e3" else 1.0)
    for part in (addresses[:3], addresses[3:]):
        assert spread(predictor, part) < 1.35
    ratio = typical(predictor.speed_of("e1")) / typical(predictor.speed_of("e5"))
    assert ratio == pytest.approx(slowness, rel=0.3)


def test_one_that_becomes_slow_is_known_for_it_within_some_tens_of_requests():
    rng, predictor, addresses = random.Random(2), LatencyPredictor(), [f"e{n}" for n in range(4)]
    for _ in range(1200):
        serve(predictor, rng, rng.choice(addresses))
    for _ in range(160):
        address = rng.choice(addresses)
        serve(predictor, rng, address, 4.0 if address == "e0" else 1.0)
    assert typical(predictor.speed_of("e0")) > 2.0 * typical(predictor.speed_of("e1"))


def test_kinds_do_not_learn_from_each_other():
    rng, predictor = random.Random(3), LatencyPredictor()
    for address, kind in (("a", "small model"), ("b", "small model"), ("c", "large model"), ("d", "large model")):
        predictor.describe(address, kind)
    for _ in range(600):
        serve(predictor, rng, rng.choice("ab"))
        serve(predictor, rng, rng.choice("cd"), 10.0)
    assert typical(predictor.speed_of("c")) > 6.0 * typical(predictor.speed_of("a"))
    predictor.describe("e", "large model")
    assert typical(predictor.speed_of("e")) == pytest.approx(typical(predictor.speed_of("c")), rel=0.5)


def test_a_kind_without_endpoints_is_forgotten():
    predictor = LatencyPredictor()
    predictor.describe("a", "k")
    serve(predictor, random.Random(4), "a")
    predictor.forget("a")
    assert not predictor._kinds
    assert not predictor._kind_of


def test_answers_of_one_piece_tell_machines_apart():
    rng, predictor = random.Random(5), LatencyPredictor()
    for _ in range(600):
        address = rng.choice("abcd")
        request = InFlight(address, 0.0, 1000, 1000, 200.0, "", running_then=rng.randrange(20))
        whole_s = (2.0 + 0.05 * request.running_then) * (3.0 if address == "a" else 1.0) * math.exp(rng.gauss(0, 0.3))
        speed = predictor.observe(request, None, None, whole_s=whole_s, output_tokens=rng.randrange(150, 250))
        assert math.isfinite(speed.itl_base_s)
    assert typical(predictor.speed_of("a")) == pytest.approx(3.0 * typical(predictor.speed_of("b")), rel=0.35)
    assert spread(predictor, "bcd") < 1.2
    for whole_s in (math.nan, math.inf, -1.0, 0.0):
        predictor.observe(request, None, None, whole_s=whole_s)
    assert math.isfinite(typical(predictor.speed_of("a")))
