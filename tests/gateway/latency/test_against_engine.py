"""The predictor against the simulated engine: what it says before a request is what the engine then takes, roughly."""

import math
import random
from statistics import median

import pytest

from fairlead.gateway.latency import LatencyPredictor
from fairlead.gateway.load import LoadTable
from fairlead.gateway.pick import Context, Query
from fairlead.gateway.pick.predict import predicted
from fairlead.perf import Parallelism, Roofline, accelerator, model_geometry
from fairlead.simulator.engine import Engine, EngineSettings, Request
from fairlead.simulator.fleet.presets import PRESETS


def errors(hardware, rate_per_s, requests, seed):
    """Relative errors of TTFT and ITL, as predicted at the pick, after the first 50 requests."""
    rng, cost = random.Random(seed), Roofline(
        accelerator(hardware), model_geometry(dict(PRESETS["llama-3.1-8b"])), Parallelism(tp=1, pp=1)
    )  # fmt: skip
    engine, loads, predictor = Engine(EngineSettings(), cost), LoadTable("x"), LatencyPredictor()
    sent, ttfts, itls, now_s = {}, [], [], 0.0

    def take_ends(until_s):
        while engine.next_s <= until_s:
            engine.advance(engine.next_s)
            for sequence in engine.finished:
                pick_id, foretold, arrived_s = sent.pop(sequence.request.id)
                ttft_s = sequence.first_token_s - arrived_s
                itl_s = (sequence.finished_s - sequence.first_token_s) / (sequence.request.output_tokens - 1)
                if len(ttfts) or sequence.request.id >= 50:
                    ttfts.append(abs(foretold[0] - ttft_s) / ttft_s)
                    itls.append(abs(foretold[1] - itl_s) / itl_s)
                loads.of("a").candidate.speed = predictor.observe(loads.ended(pick_id), ttft_s, itl_s)
            engine.finished.clear()

    for number in range(requests):
        now_s += rng.expovariate(rate_per_s)
        take_ends(now_s)
        prompt, output = int(100 * math.exp(rng.random() * math.log(40))), rng.randrange(20, 400)
        context = Context(Query("m", prompt_tokens=prompt), [loads.candidate("a", now_s)], [0])
        ttft, itl = predicted(context)
        pick_id = loads.picked("a", now_s, prompt_tokens=prompt, output_tokens=200)
        sent[number] = (pick_id, (ttft[0], itl[0]), now_s)
        engine.submit(now_s, Request(number, prompt, output))
    take_ends(math.inf if not engine.next_s < math.inf else now_s + 600)
    return ttfts, itls


@pytest.mark.parametrize(("hardware", "rate_per_s"), [("H100-SXM", 8.0), ("L4", 0.8)])
def test_predictions_are_close_on_fast_and_slow_hardware(hardware, rate_per_s):
    ttfts, itls = errors(hardware, rate_per_s, 500, seed=7)
    assert len(ttfts) > 300
    assert median(ttfts) < 0.25
    assert median(itls) < 0.2
