"""A request on its way through the fleet, from its arrival to its one end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.simulator.engine import Sequence
from fairlead.workload import TraceRequest

if TYPE_CHECKING:
    from fairlead.simulator.fleet.asked import Asked
    from fairlead.simulator.fleet.replica import Rank, Replica

FINISHED = "finished"
FAILED = "failed"
ABANDONED = "abandoned"


class Ticket:
    """One request and where it is. `stage` 0 is prefill (or everything), 1 is decode after a hand-off."""

    __slots__ = (
        "arrived_s", "asked", "cached_tokens", "generated_tokens", "number", "pick_id", "preemptions", "prefill",
        "prefill_replica", "prefill_sequence", "rank", "reason", "replica", "request", "retries", "scheduled_s",
        "sends", "sent_s", "sequence", "stage", "status",
    )  # fmt: skip

    def __init__(self, number: int, request: TraceRequest, arrived_s: float) -> None:
        self.number = number
        self.request = request
        self.arrived_s = arrived_s
        self.asked: Asked | None = None
        """What a policy that watches knows of it."""
        self.pick_id = ""
        """Under which the policy has it where it is now."""
        self.status = ""
        """Its end; empty while it is under way."""
        self.reason = ""
        self.stage = 0
        self.retries = 0
        self.sends = 0
        """How often it was sent to a replica; what was planned for an earlier time is void."""
        self.sent_s = -1.0
        """When the gateway sent it to the replica where it is now."""
        self.replica: Replica | None = None
        self.rank: Rank | None = None
        self.sequence: Sequence | None = None
        self.prefill: Rank | None = None
        """The prefill engine that holds its KV cache."""
        self.prefill_sequence: Sequence | None = None
        self.prefill_replica = ""
        self.scheduled_s = -1.0
        """First admission to any batch, of this attempt."""
        self.cached_tokens = 0
        self.generated_tokens = 0
        """Tokens that its client has got."""
        self.preemptions = 0

    @property
    def client_has_token(self) -> bool:
        """Whether its client has seen a token; a prefill replica's own is not shown."""
        sequence = self.sequence
        return sequence is not None and sequence.first_token_s >= 0 and not sequence.request.hold_kv
