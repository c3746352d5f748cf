"""Scenarios of the study of routing: what arrives, on what fleet, and what a good answer is.

Loads are rough shares of what the fleet serves within the objectives by least-loaded routing. Scenarios that are
held out had no part in choosing the default profile and its parameters.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fairlead.simulator.fleet import Crash, FailureSpec, GatewaySpec, PoolSpec, Scenario, TraceSpec
from fairlead.workload import (
    Adapters,
    Arrivals,
    Conversations,
    LogNormal,
    Prefixes,
    Slo,
    Synthetic,
    Uniform,
)

TRACES = Path(os.environ.get("FAIRLEAD_TRACES", Path(__file__).resolve().parents[3] / "shared" / "traces"))
MOONCAKE, AZURE_CONV, AZURE_CODE = (
    "mooncake_conversation.jsonl",
    "azure_llm_2023_conv.csv",
    "azure_llm_2023_code.csv",
)
LONG = Slo(ttft_s=2.0, itl_s=0.05)
"""Prompts of ten thousand tokens."""
CHAT = Slo(ttft_s=0.4, itl_s=0.03)


@dataclass(frozen=True, slots=True)
class Study:
    """A scenario at any load. `capacity` is its requests per second with least-loaded routing."""

    name: str
    what: str
    capacity: float
    make: Callable[[float, int, int], Scenario]
    """From requests per second, their number and a seed."""
    loads: tuple[float, ...] = (0.5, 0.7, 0.85, 1.1)
    requests: int = 3000
    held_out: bool = False
    trace: str = ""
    """File in the folder of traces; empty = made."""

    def at(self, load: float, policy: str, seed: int = 0, requests: int | None = None) -> Scenario:
        """The scenario at a share of the capacity."""
        scenario = self.make(load * self.capacity, requests or self.requests, seed)
        gateway = {f: getattr(scenario.gateway, f) for f in scenario.gateway.__struct_fields__} | {"policy": policy}
        fields = {f: getattr(scenario, f) for f in scenario.__struct_fields__}
        return Scenario(**{**fields, "gateway": GatewaySpec(**gateway), "seed": seed, "name": self.name})


def _h100(replicas: int, **engine: object) -> tuple[PoolSpec, ...]:
    return (PoolSpec(replicas=replicas, accelerator="H100-SXM", engine=dict(engine)),)


_MIXED = (
    PoolSpec(name="h100", replicas=2, accelerator="H100-SXM"),
    PoolSpec(name="a100", replicas=2, accelerator="A100-80"),
    PoolSpec(name="l40s", replicas=4, accelerator="L40S"),
)


def _mooncake(rate: float, requests: int, seed: int) -> Scenario:
    # The trace's own times, faster: what it has of bursts and of pauses within conversations keeps its shape.
    path, start_s = str(TRACES / MOONCAKE), 700.0 * (seed % 4)
    spec = TraceSpec(path=path, speed=rate / 3.402, start_s=start_s, limit=requests, sort=True)
    return Scenario(trace=spec, pools=_h100(8), slo=LONG)


def _tenants(rate: float, requests: int, seed: int, *, cv: float = 1.0, replicas: int = 8) -> Scenario:
    made = Synthetic(
        Arrivals(process="gamma", rate_per_s=rate, cv=cv),
        requests=requests,
        prompt_tokens=LogNormal(400.0, 1.0, high=4000),
        output_tokens=LogNormal(200.0, 0.8, high=1500),
        prefixes=(Prefixes(count=150, tokens=Uniform(2048, 8192), zipf=0.8),),
    )
    return Scenario(synthetic=made, pools=_h100(replicas), slo=CHAT)


def _lora(rate: float, requests: int, seed: int) -> Scenario:
    made = Synthetic(
        Arrivals(rate_per_s=rate),
        requests=requests,
        prompt_tokens=LogNormal(700.0, 1.0, high=8000),
        output_tokens=LogNormal(200.0, 0.8, high=1500),
        adapters=Adapters(count=40, zipf=1.0, base_share=0.1),
    )
    adapters = {"max_loras": 8, "max_cpu_loras": 16, "device_load_s": 0.01, "host_load_s": 0.3}
    return Scenario(synthetic=made, pools=_h100(8, adapters=adapters), slo=CHAT)


def _mixed(rate: float, requests: int, seed: int) -> Scenario:
    made = Synthetic(
        Arrivals(rate_per_s=rate),
        requests=requests,
        prompt_tokens=LogNormal(1500.0, 1.0, high=16_000),
        output_tokens=LogNormal(200.0, 0.8, high=1500),
        prefixes=(Prefixes(count=40, tokens=Uniform(512, 2048), zipf=1.0),),
    )
    return Scenario(synthetic=made, pools=_MIXED, slo=Slo(ttft_s=0.5, itl_s=0.05))


def _bursts(rate: float, requests: int, seed: int) -> Scenario:
    return _tenants(rate, requests, seed, cv=3.0)


def _agents(rate: float, requests: int, seed: int) -> Scenario:
    """Each conversation has about twelve turns, so first turns are that much rarer."""
    made = Synthetic(
        Arrivals(rate_per_s=rate / 9.0),
        requests=requests,
        prompt_tokens=LogNormal(1500.0, 1.5, high=20_000),
        output_tokens=LogNormal(250.0, 1.0, high=2000),
        prefixes=(Prefixes(count=8, tokens=Uniform(2000, 6000), zipf=0.8),),
        conversations=Conversations(Uniform(4, 20), pause_s=4.0),
        max_prompt_tokens=60_000,
    )
    return Scenario(synthetic=made, pools=_h100(6), slo=LONG)


def _chats(rate: float, requests: int, seed: int, *, replicas: int = 8, gateway: GatewaySpec | None = None) -> Scenario:
    made = Synthetic(
        Arrivals(process="gamma", rate_per_s=rate / 2.5, cv=1.5),
        requests=requests,
        prompt_tokens=LogNormal(800.0, 1.2, high=12_000),
        output_tokens=LogNormal(250.0, 0.8, high=1500),
        prefixes=(Prefixes(count=30, tokens=Uniform(500, 3000), zipf=1.0),),
        conversations=Conversations(Uniform(1, 6), pause_s=10.0),
    )
    return Scenario(synthetic=made, pools=_h100(replicas), slo=CHAT, gateway=gateway or GatewaySpec())


def _azure(name: str, own_rate: float) -> Callable[[float, int, int], Scenario]:
    def make(rate: float, requests: int, seed: int) -> Scenario:
        spec = TraceSpec(path=str(TRACES / name), speed=rate / own_rate, start_s=600.0 * (seed % 4), limit=requests)
        return Scenario(trace=spec, pools=_h100(4), slo=CHAT)

    return make


def _crash(rate: float, requests: int, seed: int) -> Scenario:
    base = _chats(rate, requests, seed)
    at_s = 0.3 * requests / rate
    pools = (PoolSpec(replicas=8, accelerator="H100-SXM", startup_s=10.0),)
    failures = FailureSpec(crashes=(Crash(at_s=at_s, replica=2), Crash(at_s=at_s + 5.0, replica=5)), repair_s=5.0)
    return Scenario(synthetic=base.synthetic, pools=pools, failures=failures, slo=CHAT)


def _stale(rate: float, requests: int, seed: int) -> Scenario:
    return _chats(rate, requests, seed, gateway=GatewaySpec(scrape_interval_s=3.0, log_delay_s=1.0, token_error=0.3))


def _whole(rate: float, requests: int, seed: int) -> Scenario:
    scenario = _mixed(rate, requests, seed)
    gateway = GatewaySpec(streamed=0.0, token_error=0.2)
    return Scenario(synthetic=scenario.synthetic, pools=scenario.pools, slo=scenario.slo, gateway=gateway)


STUDIES: tuple[Study, ...] = (
    Study("mooncake", "Mooncake conversations, 8 x H100", 10.5, _mooncake, requests=4000, trace=MOONCAKE),
    Study("tenants", "150 system prompts of 2-8k tokens by Zipf 0.8, 8 x H100", 80.0, _tenants),
    Study("lora", "40 adapters by Zipf 1, 8 slots, 8 x H100", 45.0, _lora),
    Study("mixed", "2 x H100, 2 x A100, 4 x L40S; 40 system prompts", 50.0, _mixed),
    Study("bursts", "as tenants, arrivals with cv 3", 70.0, _bursts, (0.7,)),
    Study("agents", "long sessions of 4-20 turns, 6 x H100", 12.0, _agents, (0.7,)),
    Study("chats", "conversations of 1-6 turns, 8 x H100", 110.0, _chats, (0.7,)),
    Study("azure-conv", "Azure conversations, 4 x H100", 85.0, _azure(AZURE_CONV, 5.4), (0.8,), trace=AZURE_CONV),
    Study("azure-code", "Azure code, 4 x H100", 25.0, _azure(AZURE_CODE, 2.6), (0.8,),
          trace=AZURE_CODE),
    Study("crash", "chats, two replicas die and come back", 110.0, _crash, (0.7,), held_out=True),
    Study("stale", "chats, scraped every 3 s, ends known after 1 s, prompts estimated", 110.0, _stale, (0.7,),
          held_out=True),
    Study("whole", "mixed, no answer is streamed, prompts estimated", 50.0, _whole, (0.7,), held_out=True),
    Study("small", "chats on 2 x H100", 16.0, lambda r, n, s: _chats(r, n, s, replicas=2), (0.7,)),
    Study("large", "tenants on 32 x H100", 320.0, lambda r, n, s: _tenants(r, n, s, replicas=32), (0.7,), 8000,
          held_out=True),
)  # fmt: skip
