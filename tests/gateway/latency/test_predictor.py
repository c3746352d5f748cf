"""What the predictor learns: the truth, in spite of noise, outliers and drift, and nothing impossible from anything."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.latency import LatencyPredictor
from fairlead.gateway.load import InFlight


def request(address="a", uncached=1000, backlog=0.0, running=4, picked_s=0.0, prompt=None):
    return InFlight(
        address, picked_s, uncached if prompt is None else prompt, uncached, 200.0, "", running_then=running,
        backlog_then=backlog,
    )  # fmt: skip


class Truth:
    """An engine whose times are known."""

    def __init__(self, overhead_s=0.03, token_s=5e-5, ttft_request_s=1e-3, base_s=0.01, request_s=2e-4):
        self.overhead_s, self.token_s, self.ttft_request_s = overhead_s, token_s, ttft_request_s
        self.base_s, self.request_s = base_s, request_s

    def serve(self, predictor, rng, n, address="a", noise=0.0, outliers=0.0):
        for _ in range(n):
            r = request(
                address, int(rng.expovariate(1 / 1500)), rng.choice([0, 0, rng.random() * 8000]), rng.randrange(40)
            )
            ttft_s = (
                self.overhead_s
                + self.token_s * (r.uncached_tokens + r.backlog_then)
                + self.ttft_request_s * r.running_then
            )
            itl_s = self.base_s + self.request_s * (r.running_then + 1)
            factor = math.exp(rng.gauss(0, noise))
            if rng.random() < outliers:
                factor *= 50
            predictor.observe(r, ttft_s * factor, itl_s * factor)
        return predictor.speed_of(address)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.002, 0.5), st.floats(1e-5, 5e-4), st.floats(0.005, 0.1), st.floats(2e-5, 2e-3), st.floats(0, 0.2),
    st.integers(0, 2**32),
)  # fmt: skip
def test_it_finds_the_truth_under_noise(overhead_s, token_s, base_s, request_s, noise, seed):
    truth = Truth(overhead_s, token_s, 1e-3, base_s, request_s)
    speed = truth.serve(LatencyPredictor(), random.Random(seed), 1500, noise=noise)
    typical = overhead_s + token_s * 1500 + 1e-3 * 20
    learned = speed.overhead_s + speed.prefill_token_s * 1500 + speed.ttft_request_s * 20
    assert learned == pytest.approx(typical, rel=0.1 + noise)
    # The marginal cost of a token is what routes: it has to be right where it makes up a good part of the time.
    assert abs(speed.prefill_token_s - token_s) * 1500 <= (0.1 + 1.5 * noise) * typical
    assert speed.itl_base_s + 20 * speed.itl_request_s == pytest.approx(base_s + 20 * request_s, rel=0.1 + noise)


def test_requests_that_hung_do_not_move_it_far():
    rng = random.Random(1)
    speed = Truth().serve(LatencyPredictor(), rng, 600, noise=0.1, outliers=0.03)
    assert speed.prefill_token_s == pytest.approx(5e-5, rel=0.35)
    assert speed.itl_base_s + 20 * speed.itl_request_s == pytest.approx(0.014, rel=0.25)


@pytest.mark.parametrize("factor", [5.0, 0.2])
def test_an_engine_that_became_another_is_known_for_it_soon(factor):
    rng, predictor = random.Random(2), LatencyPredictor()
    Truth().serve(predictor, rng, 300, noise=0.1)
    speed = Truth(0.03 * factor, 5e-5 * factor, 1e-3 * factor, 0.01 * factor, 2e-4 * factor).serve(
        predictor, rng, 150, noise=0.1
    )
    assert speed.prefill_token_s == pytest.approx(5e-5 * factor, rel=0.4)
    assert speed.itl_base_s + 20 * speed.itl_request_s == pytest.approx(0.014 * factor, rel=0.25)


times = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.floats(0, 1e9) | st.just(math.inf), st.integers(0, 10**5), times, times),
        max_size=60,
    )
)
def test_no_observation_makes_it_impossible(observations):
    predictor = LatencyPredictor()
    for uncached, backlog, running, ttft_s, itl_s in observations:
        speed = predictor.observe(request("a", uncached, backlog, running), ttft_s, itl_s)
        values = (
            speed.overhead_s, speed.prefill_token_s, speed.ttft_request_s, speed.itl_base_s, speed.itl_request_s,
        )  # fmt: skip
        assert all(math.isfinite(v) and v >= 0.0 for v in values)


def test_an_endpoint_begins_with_what_its_likes_have_shown():
    rng, predictor = random.Random(3), LatencyPredictor()
    for address, kind in (("f1", "h100"), ("f2", "h100"), ("f3", "h100"), ("s1", "l4"), ("s2", "l4")):
        predictor.describe(address, kind)
    assert predictor.speed_of("f3") is None
    for address in ("f1", "f2"):
        Truth(token_s=2e-5).serve(predictor, rng, 100, address)
    Truth(token_s=2e-4).serve(predictor, rng, 100, "s1")
    assert predictor.speed_of("f3").prefill_token_s == pytest.approx(2e-5, rel=0.2)
    assert predictor.speed_of("s2").prefill_token_s == pytest.approx(2e-4, rel=0.2)
    assert predictor.speed_of("s2").observations == 0
    predictor.observe(request("f3"), 0.05, 0.01)
    assert predictor.speed_of("f3").prefill_token_s == pytest.approx(2e-5, rel=0.6)


def test_a_new_kind_at_an_old_address_is_another_engine():
    predictor = LatencyPredictor()
    predictor.describe("a", "h100")
    predictor.observe(request(), 0.1, 0.01)
    predictor.describe("a", "h100")
    assert predictor.speed_of("a").observations == 1
    predictor.describe("a", "l4")
    assert predictor.speed_of("a") is None


def test_the_engines_own_word_on_cached_tokens_goes_before_belief():
    rng = random.Random(4)
    believed, told = LatencyPredictor(), LatencyPredictor()
    for _ in range(200):
        uncached = rng.randrange(4000)
        r = request("a", 0, running=0, prompt=4000)  # believed to be all cached
        for predictor, cached in ((believed, None), (told, 4000 - uncached)):
            predictor.observe(r, 0.02 + 5e-5 * uncached, None, cached_tokens=cached)
    assert told.speed_of("a").prefill_token_s == pytest.approx(5e-5, rel=0.1)
    assert believed.speed_of("a").overhead_s > 0.08


def test_what_was_not_heard_of_for_long_drifts_to_its_likes():
    rng, predictor = random.Random(5), LatencyPredictor()
    Truth(token_s=5e-5).serve(predictor, rng, 100, "a")
    Truth(token_s=5e-4).serve(predictor, rng, 100, "b")
    predictor.observe(request("a", picked_s=1000.0), 0.1, 0.01)
    before = predictor.speed_of("b").prefill_token_s
    predictor.relax(1000.0)
    assert predictor.speed_of("b").prefill_token_s < before
    alone = LatencyPredictor()
    Truth().serve(alone, rng, 50, "a")
    kept = alone.speed_of("a").prefill_token_s
    alone.relax(1e6)
    assert alone.speed_of("a").prefill_token_s == kept


def test_what_is_forgotten_is_gone():
    predictor = LatencyPredictor()
    predictor.observe(request(), 0.1, 0.01)
    predictor.forget("a")
    predictor.forget("a")
    assert predictor.speed_of("a") is None


def test_it_stays_right_over_long_times_with_traffic_that_varies_and_traffic_that_does_not():
    rng, predictor = random.Random(6), LatencyPredictor()
    for phase in range(12):
        if phase % 2:
            for _ in range(1500):  # the same request again and again: most coefficients cannot be told
                factor = 50 if rng.random() < 0.01 else math.exp(rng.gauss(0, 0.2))
                speed = predictor.observe(request("a", 1000, 0.0, 4), 0.084 * factor, 0.011)
                learned = speed.overhead_s + speed.prefill_token_s * 1000 + speed.ttft_request_s * 4
                assert phase < 2 or learned == pytest.approx(0.084, rel=0.5)
        else:
            for _ in range(50):
                speed = Truth().serve(predictor, rng, 30, noise=0.2, outliers=0.01)
                learned = speed.overhead_s + speed.prefill_token_s * 1000 + speed.ttft_request_s * 4
                assert learned == pytest.approx(0.084, rel=0.5)
        speed = predictor.speed_of("a")
        assert speed.itl_base_s + 5 * speed.itl_request_s == pytest.approx(0.011, rel=0.4)


def test_it_recovers_from_speeds_that_were_absurd():
    rng, predictor = random.Random(7), LatencyPredictor()
    for _ in range(100):
        predictor.observe(request(), 3000.0, 300.0)
    speed = Truth().serve(predictor, rng, 300, noise=0.1)
    assert speed.overhead_s + speed.prefill_token_s * 1500 == pytest.approx(0.105, rel=0.4)
    assert speed.itl_base_s + 20 * speed.itl_request_s == pytest.approx(0.014, rel=0.4)
