"""The gateway as the fleet has it: a policy, and what it is told of requests, reports and ends.

Reports reach it when engines are scraped and ends when the access log tells of them, not before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from fairlead.gateway.pick import NoPick
from fairlead.simulator.fleet.agenda import Agenda
from fairlead.simulator.fleet.asked import Reader
from fairlead.simulator.fleet.config import GatewaySpec
from fairlead.simulator.fleet.policies import policy_named
from fairlead.simulator.fleet.policy import Decision, End
from fairlead.simulator.fleet.replica import Replica, Watcher
from fairlead.simulator.fleet.ticket import Ticket


class Front:
    """Decides where requests go."""

    def __init__(self, gateway: GatewaySpec, agenda: Agenda, seed: int) -> None:
        self._policy = policy_named(gateway.policy, random.Random(f"policy/{seed}"), gateway)
        self._reader: Reader | None = None
        if self._policy.watches:
            self._reader = Reader(gateway.token_error, random.Random(f"reader/{seed}"))
        self._agenda = agenda
        self._delay_s = gateway.log_delay_s
        self._streamed = gateway.streamed
        self._rng = random.Random(f"streamed/{seed}")

    @property
    def watcher(self) -> Watcher | None:
        """Who is told of scrapes; None = nobody."""
        return self._policy.reported if self._policy.watches else None

    def decide(self, now_s: float, ticket: Ticket, serving: Sequence[Replica]) -> Decision | NoPick:
        """Where a request goes, of the replicas that are ready."""
        if self._reader is not None:
            if ticket.asked is None:
                ticket.asked = self._reader.read(ticket.number, ticket.request)
            for replica in serving:
                if now_s >= replica.next_scrape_s:
                    replica.scrape(now_s)
        return self._policy.pick(now_s, ticket.asked, serving)

    def answered(self, ticket: Ticket, first_s: float, end_s: float) -> None:
        """All its tokens are out: the first and last at these moments."""
        if ticket.pick_id:
            count = ticket.generated_tokens
            whole_s = end_s - ticket.sent_s
            if self._streamed < 1.0 and self._rng.random() >= self._streamed:
                self._log(end_s, ticket, End(None, None, count, whole_s))
                return
            # A decode replica's first token says how long the hand-off took, and not how fast a prompt is computed.
            ttft_s = None if ticket.stage else first_s - ticket.sent_s
            itl_s = (end_s - first_s) / (count - 1) if count > 1 else None
            self._log(end_s, ticket, End(ttft_s, itl_s, count, whole_s))

    def prefilled(self, now_s: float, ticket: Ticket) -> None:
        """Its prompt is computed, for another replica to go on."""
        if ticket.pick_id:
            self._log(now_s, ticket, End(now_s - ticket.sent_s, None, 1, now_s - ticket.sent_s))

    def broke_off(self, now_s: float, ticket: Ticket) -> None:
        """It is no longer where it was; nothing happens if the policy knows that it has ended."""
        if ticket.pick_id:
            self._log(now_s, ticket, None)

    def gone(self, replica: Replica) -> None:
        """What was known of the replica holds no more."""
        self._policy.gone(replica.address)

    def _log(self, at_s: float, ticket: Ticket, end: End | None) -> None:
        self._agenda.at(at_s + self._delay_s, self._logged, (ticket.pick_id, end), tick=True)
        ticket.pick_id = ""

    def _logged(self, now_s: float, entry: tuple[str, End | None]) -> None:
        self._policy.ended(*entry)
