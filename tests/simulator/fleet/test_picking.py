"""The fleet with the live gateway's picker: what it is told, when, and that it decides the same every time."""

import random

import pytest

from fairlead.engines import EngineSignals
from fairlead.gateway.pick import NoPick
from fairlead.perf import LinearCost
from fairlead.simulator.engine import AdapterSettings
from fairlead.simulator.fleet import (
    POLICIES,
    Crash,
    Decision,
    FailureSpec,
    GatewaySpec,
    PoolSpec,
    ScenarioError,
    replica,
)
from fairlead.simulator.fleet.asked import BLOCK_TOKENS, Reader
from fairlead.simulator.fleet.policies import policy_named
from fairlead.workload import (
    Arrivals,
    Conversations,
    Fixed,
    LogNormal,
    Prefixes,
    Synthetic,
    TraceRequest,
    generate,
)
from simulator.fleet.small_fleets import model, simulate

WATCHING = ("llm-d", "fairlead")


def workload(seed=0, requests=150, rate_per_s=20.0):
    made = Synthetic(
        Arrivals(rate_per_s=rate_per_s),
        requests=requests,
        prompt_tokens=LogNormal(200.0, high=1000),
        output_tokens=Fixed(20),
        prefixes=(Prefixes(count=6, tokens=Fixed(640), zipf=1.0),),
        conversations=Conversations(Fixed(2), pause_s=1.0),
    )
    return list(generate(made, random.Random(seed)))


class Overheard:
    """A policy that takes turns and writes down what it is told."""

    watches = True

    def __init__(self, interval_s=0.5):
        self.interval_s = interval_s
        self.told = []
        self.turn = 0

    def pick(self, now_s, asked, seen):
        self.told.append(("pick", now_s, asked, [s.address for s in seen]))
        if not seen:
            return NoPick("none", "none")
        self.turn += 1
        return Decision(seen[self.turn % len(seen)].address, f"p{self.turn}")

    def reported(self, address, signals, at_s):
        self.told.append(("report", at_s, address, signals))
        return self.interval_s

    def ended(self, pick_id, end):
        self.told.append(("end", pick_id, end))

    def gone(self, address):
        self.told.append(("gone", address))

    def of(self, kind):
        return [entry for entry in self.told if entry[0] == kind]


@pytest.fixture
def overheard(monkeypatch):
    policy = Overheard()
    monkeypatch.setitem(POLICIES, "overheard", lambda rng, gateway: policy)
    return policy


def listen(requests, replicas=2, made=None, **options):
    gateway = GatewaySpec(policy="overheard", **options.pop("gateway", {}))
    return simulate(
        requests, [(PoolSpec(replicas=replicas, startup_s=1.0), made or model())], gateway=gateway, **options
    )


@pytest.mark.parametrize("policy", WATCHING)
def test_a_seed_gives_one_result_and_every_request_ends_once(policy):
    def run(seed):
        pools = [(PoolSpec(replicas=3), model(num_blocks=400))]
        return simulate(workload(), pools, gateway=GatewaySpec(policy=policy), seed=seed).records

    first = run(1)
    assert first == run(1)
    assert sorted(r["request"] for r in first) == list(range(150))
    assert {r["status"] for r in first} == {"finished"}


def test_reports_come_at_the_pace_that_the_policy_asks_for(overheard):
    overheard.interval_s = 0.7
    listen([TraceRequest(5.0, 100, 50)], replicas=1)
    times = [entry[1] for entry in overheard.of("report")]
    assert times[:3] == pytest.approx([0.0, 0.7, 1.4])
    assert times == pytest.approx([0.7 * n for n in range(len(times))])
    assert times[-1] == pytest.approx(4.9)


def test_a_report_is_of_the_moment_it_was_made_and_not_of_the_one_it_is_looked_at(overheard):
    """The second request comes before the next scrape: the policy cannot know of the first from the engine."""
    overheard.interval_s = 1.0
    listen([TraceRequest(0.5, 3000, 30), TraceRequest(0.9, 10, 2), TraceRequest(1.01, 10, 2)], replicas=1)
    before = {}
    for entry in overheard.told:
        if entry[0] == "report":
            before["signals"] = entry[3]
        elif entry[0] == "pick":
            before.setdefault("seen", []).append(before["signals"].running_requests)
    assert before["seen"] == [0, 0, 1]


def test_between_reports_engines_are_not_looked_at(overheard, monkeypatch):
    looked = []
    monkeypatch.setattr(
        replica, "signals_of", lambda engines, at_s: looked.append(at_s) or EngineSignals(running_requests=0)
    )
    monkeypatch.setattr(replica.Replica, "candidate", lambda self, now_s: pytest.fail("a watching policy looked"))
    overheard.interval_s = 10.0
    outcome = listen(workload(requests=60), replicas=2)
    assert len(outcome.records) == 60
    assert len(looked) == 2 * (1 + int(looked[-1] / 10.0))


def test_signals_are_what_an_engine_reports(overheard):
    overheard.interval_s = 0.05
    adapters = AdapterSettings(max_loras=1, max_cpu_loras=2)
    requests = [TraceRequest(0.0, 500, 200, adapter="x"), TraceRequest(0.01, 100, 10, adapter="y")]
    listen(requests, replicas=1, made=model(num_blocks=100, adapters=adapters))
    signals = [entry[3] for entry in overheard.of("report")]
    busy = next(s for s in signals if s.running_adapters == ("x",) and s.waiting_adapters == ("y",))
    assert (busy.running_requests, busy.waiting_requests, busy.max_adapters) == (1, 1, 1)
    assert (busy.kv_cache_capacity_tokens, busy.kv_block_tokens) == (1600, 16)
    assert 0 < busy.kv_cache_usage_ratio < 1
    assert max(s.prompt_tokens_total for s in signals) == 600


def test_ends_are_told_after_the_logs_delay_with_times_from_the_pick(overheard):
    outcome = listen([TraceRequest(1.0, 100, 11)], replicas=1, gateway={"log_delay_s": 0.25})
    # The fleet stops with its last request; what the log would tell later is not needed any more.
    assert overheard.of("end") == []
    outcome = listen([TraceRequest(1.0, 100, 11), TraceRequest(9.0, 100, 1)], replicas=1, gateway={"log_delay_s": 0.25})
    ((_, pick_id, end),) = overheard.of("end")
    record = outcome.by(0)
    assert pick_id == f"p{overheard.turn - 1}"
    assert end.output_tokens == 11
    assert end.ttft_s == pytest.approx(record["first_token_s"] - 1.0)
    assert end.itl_s == pytest.approx((record["ended_s"] - record["first_token_s"]) / 10)


def test_a_request_tells_nothing_of_its_answer(overheard):
    listen([TraceRequest(0.0, 130, 7, adapter="a", session="s", tenant="t", hash_ids=(1, 2), block_tokens=64)])
    (_, _, asked, _) = overheard.of("pick")[0]
    assert not any("output" in name for name in type(asked).__slots__)
    assert (asked.prompt_tokens, asked.adapter, asked.session, asked.tenant) == (130, "a", "s", "t")
    assert len(asked.blocks.hashes) == 2


def test_a_dead_replica_is_gone_and_its_requests_break_off(overheard):
    crash = FailureSpec(crashes=(Crash(at_s=0.55, replica=1),), repair_s=1.0)
    listen([TraceRequest(0.5, 1000, 100), TraceRequest(20.0, 10, 1)], failures=crash)
    assert ("gone", "main-1") in overheard.told
    picks = [entry for entry in overheard.of("pick")]
    assert [entry[3] for entry in picks] == [["main-0", "main-1"], ["main-0"], ["main-0", "main-1"]]
    assert ("end", "p1", None) in overheard.told


def test_prompts_that_begin_alike_have_blocks_that_begin_alike():
    reader = Reader(0.0, random.Random(0))
    first = reader.read(0, TraceRequest(0.0, 1000, 5, hash_ids=(7, 8), block_tokens=256)).blocks
    second = reader.read(1, TraceRequest(0.0, 900, 5, hash_ids=(7, 9), block_tokens=256)).blocks
    unnamed = reader.read(2, TraceRequest(0.0, 900, 5)).blocks
    assert (len(first.hashes), len(second.hashes), len(unnamed.hashes)) == (
        1000 // BLOCK_TOKENS,
        900 // BLOCK_TOKENS,
        14,
    )
    alike = [int(a == b) for a, b in zip(first.hashes.tolist(), second.hashes.tolist(), strict=False)]
    assert alike == [1] * 4 + [0] * (len(alike) - 4)
    assert not set(unnamed.hashes.tolist()) & set(first.hashes.tolist())
    other = reader.read(3, TraceRequest(0.0, 1000, 5, hash_ids=(7, 8), block_tokens=256, adapter="x")).blocks
    assert other.space != first.space


def test_estimated_prompts_are_off_on_both_sides():
    reader = Reader(0.3, random.Random(0))
    counts = [reader.read(n, TraceRequest(0.0, 1000, 5)).prompt_tokens for n in range(200)]
    assert min(counts) < 800 < 1250 < max(counts)


def test_prefixes_are_found_again_and_round_robin_does_not():
    hits = {}
    for policy in ("round-robin", *WATCHING):
        pools = [(PoolSpec(replicas=4), model(num_blocks=400))]
        outcome = simulate(workload(requests=300), pools, gateway=GatewaySpec(policy=policy))
        hits[policy] = sum(r["cached_tokens"] for r in outcome.records)
    assert hits["fairlead"] > 1.2 * hits["round-robin"]
    assert hits["llm-d"] > 1.2 * hits["round-robin"]


def test_slow_replicas_get_less():
    cost = LinearCost(base_s=0.03, prefill_token_s=0.0004, prefill_pair_s=0.0, decode_token_s=0.0, context_s=0.0)
    pools = [(PoolSpec(name="fast", replicas=1), model()), (PoolSpec(name="slow", replicas=1), model(cost=cost))]
    outcome = simulate(workload(requests=400, rate_per_s=25.0), pools, gateway=GatewaySpec(policy="fairlead"))
    by = [r["replica"] for r in outcome.records]
    assert by.count("fast-0") > 1.5 * by.count("slow-0")


def test_a_picker_configuration_is_a_policy(tmp_path):
    path = tmp_path / "epp.yaml"
    path.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
        "plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]\n"
        "schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer}, "
        "{pluginRef: prefix-cache-scorer, weight: 3}]}]\n"
    )
    outcome = simulate(workload(requests=40), [(PoolSpec(replicas=2), model())], gateway=GatewaySpec(policy=str(path)))
    assert {r["status"] for r in outcome.records} == {"finished"}
    path.write_text("kind: Something\n")
    with pytest.raises(ScenarioError, match=r"epp\.yaml"):
        policy_named(str(path), random.Random(0))
    with pytest.raises(ScenarioError, match=r"cannot read the policy /no/such\.yaml"):
        policy_named("/no/such.yaml", random.Random(0))
