"""Small fleets on coarse costs: fast, and with numbers that can be computed by hand."""

from dataclasses import dataclass, field

from fairlead.perf import LinearCost
from fairlead.simulator.engine import Engine, EngineSettings, TransferSettings
from fairlead.simulator.fleet import Fleet, ListedRecords, PoolSpec, ReplicaModel
from fairlead.simulator.fleet.records import NAMES

COST = LinearCost(base_s=0.01, prefill_token_s=0.0001, prefill_pair_s=0.0, decode_token_s=0.0, context_s=0.0)
"""An iteration takes 10 ms, and 0.1 ms for every prompt token in it."""


@dataclass(frozen=True)
class Observed(ReplicaModel):
    """A model that remembers the engines it made."""

    made: list[Engine] = field(default_factory=list)

    def engine(self, seed, itl):
        self.made.append(super().engine(seed, itl))
        return self.made[-1]


def model(num_blocks=1000, cost=COST, frontend=None, ranks=1, accelerators=1, **settings):
    """A replica with small blocks of 16 tokens, which schedules without looking ahead."""
    settings = {
        "max_num_seqs": 64, "max_num_batched_tokens": 2048, "async_scheduling": False,
        "transfer": TransferSettings(latency_s=0.05, tokens_per_s=10_000), **settings,
    }  # fmt: skip
    extra = {} if frontend is None else {"frontend": frontend}
    return Observed(
        EngineSettings(num_blocks=num_blocks, **settings),
        cost,
        ranks=ranks,
        accelerators=accelerators,
        usd_per_h=2.0,
        **extra,
    )


@dataclass
class Outcome:
    """A fleet that has run, and its records as dicts by request."""

    fleet: Fleet
    records: list[dict]
    models: list[Observed]

    def by(self, request):
        return next(r for r in self.records if r["request"] == request)

    @property
    def engines(self):
        return [engine for m in self.models for engine in m.made]


def simulate(requests, pools=None, **options):
    """Run requests on pools of (PoolSpec, model); options are those of Fleet."""
    pools = pools or [(PoolSpec(), model())]
    sink = ListedRecords()
    fleet = Fleet(pools, records=sink, **options)
    fleet.run(iter(requests))
    return Outcome(fleet, [dict(zip(NAMES, r, strict=True)) for r in sink.records], [m for _, m in pools])
