"""The fleet under the virtual clock: every request from its arrival through the gateway and its engines to its one end.

Time jumps from event to event. The decision where a request goes is made by the same code that the live gateway runs,
on what the live gateway would know. Nothing here reads a clock or draws a number that is not seeded, so one
scenario gives the same records every time.

With `prefill` and `decode` pools a request is first computed by a prefill replica, which holds the KV cache; a decode
replica, picked at that moment by the same policy, fetches it and generates every token that the client sees (as vLLM's
connectors do it: the prefill's own token is not shown).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from fairlead.gateway.pick import NoPick
from fairlead.simulator.engine import Request, RequestTooLong, State, pick_rank
from fairlead.simulator.engine import Sequence as EngineSequence
from fairlead.simulator.fleet.agenda import Agenda
from fairlead.simulator.fleet.config import FailureSpec, GatewaySpec, NodeSpec, PoolSpec
from fairlead.simulator.fleet.front import Front
from fairlead.simulator.fleet.lifecycle import Lifecycle
from fairlead.simulator.fleet.measures import Measures
from fairlead.simulator.fleet.model import ReplicaModel
from fairlead.simulator.fleet.records import NoRecords, RecordSink, record_of
from fairlead.simulator.fleet.replica import Phase, Rank, Replica
from fairlead.simulator.fleet.ticket import ABANDONED, FAILED, FINISHED, Ticket
from fairlead.workload import Chains, Slo, TraceRequest

Progress = Callable[[float, int, int], None]
"""Is told the simulated time, the requests that have arrived and those that have ended."""

_PROGRESS_EVERY = 1000
_IDLE_TICKS = 2000
"""Samples and scaling decisions without any work pending after which requests that wait are given up: with a policy
that has not acted by then, nothing ever comes."""

_STAGES = {0: "prefill", 1: "decode"}


class Fleet:
    """`run` it once."""

    def __init__(
        self,
        pools: Sequence[tuple[PoolSpec, ReplicaModel]],
        *,
        gateway: GatewaySpec | None = None,
        slo: Slo | None = None,
        failures: FailureSpec | None = None,
        nodes: NodeSpec | None = None,
        seed: int = 0,
        records: RecordSink | None = None,
    ) -> None:
        self.gateway = gateway or GatewaySpec()
        self.agenda = Agenda()
        self.measures = Measures(slo or Slo())
        self.records: RecordSink = records or NoRecords()
        self.disaggregated = any(spec.role != "both" for spec, _ in pools)
        self._front = Front(self.gateway, self.agenda, seed)
        self._held: dict[str, dict[Ticket, None]] = {"both": {}, "prefill": {}, "decode": {}}
        """Role -> requests that wait for a replica of it, in order."""
        self._open: dict[int, Ticket] = {}
        self._sessions: dict[str, deque[TraceRequest]] = {}  # session with an open turn -> turns that wait for its end
        self._chains: dict[int, Chains] = {}  # block size -> maker of chains
        self._picks = 0
        self.lifecycle = Lifecycle(
            pools, self.gateway, failures or FailureSpec(), nodes, self.agenda, self, seed, self._front.watcher
        )
        self._serving = self.lifecycle.serving
        self.agenda.at(0.0, self._sample, None, tick=True)

    def run(self, requests: Iterable[TraceRequest], progress: Progress | None = None) -> None:
        """Serve all requests, which must come in order of time, to their end."""
        run_until, measures = self.agenda.run_until, self.measures
        before_s = 0.0
        for request in requests:
            now_s = request.time_s
            if now_s < before_s:
                raise ValueError(f"a request arrives at {now_s} s, after one at {before_s} s: sort them by time")
            before_s = now_s
            run_until(now_s)
            self._arrive(now_s, request)
            if progress is not None and not measures.arrived % _PROGRESS_EVERY:
                progress(now_s, measures.arrived, measures.ended)
        self._run_out(progress)
        self.lifecycle.close(max(measures.last_end_s, before_s))
        self.records.close()

    def _run_out(self, progress: Progress | None) -> None:
        idle_ticks = 0
        patience = _IDLE_TICKS if self.lifecycle.may_grow() else 0
        # A session without an open turn has one that is about to begin.
        while self._open or self._sessions:
            idle_ticks = 0 if self.agenda.work else idle_ticks + 1
            if idle_ticks > patience:
                for ticket in list(self._open.values()):
                    reason = "no_ready_replica" if ticket.replica is None else "stalled"
                    self._lose(self.agenda.now_s, ticket, FAILED, reason)
                continue
            self.agenda.run_next()
            if progress is not None and not self.measures.ended % _PROGRESS_EVERY:
                progress(self.agenda.now_s, self.measures.arrived, self.measures.ended)

    # Arrival and routing

    def _arrive(self, now_s: float, request: TraceRequest) -> None:
        """A request of the trace; a turn whose predecessor is still being answered waits for its end."""
        if request.session:
            waiting = self._sessions.get(request.session)
            if waiting is not None:
                waiting.append(request)
                return
            self._sessions[request.session] = deque()
        self._begin(now_s, request)

    def _begin(self, now_s: float, request: TraceRequest) -> None:
        measures, gateway = self.measures, self.gateway
        ticket = Ticket(measures.arrived, request, now_s)
        measures.arrives(now_s)
        if request.hash_ids:
            measures.named += 1
        self._open[ticket.number] = ticket
        if gateway.patience_s is not None:
            self.agenda.at(now_s + gateway.patience_s, self._lose_patience, ticket)
        if gateway.deadline_s is not None:
            self.agenda.at(now_s + gateway.deadline_s, self._pass_deadline, ticket)
        self._route(now_s, ticket)

    def _role(self, ticket: Ticket) -> str:
        return _STAGES[ticket.stage] if self.disaggregated else "both"

    def _route(self, now_s: float, ticket: Ticket) -> None:
        """Pick a replica and send the request there, or hold it while none is ready."""
        role = self._role(ticket)
        decision = self._front.decide(now_s, ticket, self._serving[role])
        if isinstance(decision, NoPick):
            if self.gateway.no_endpoint == "fail":
                self._lose(now_s, ticket, FAILED, decision.code)
            else:
                self._held[role][ticket] = None
            return
        replica = self.lifecycle.by_address[decision.address]
        self._picks += 1
        replica.last_pick = self._picks
        replica.picks += 1
        replica.in_flight += 1
        replica.changed()
        replica.tickets[ticket.number] = ticket
        self.lifecycle.pools[replica.pool].arrivals += 1
        ticket.replica, ticket.sent_s, ticket.pick_id = replica, now_s, decision.pick_id
        ticket.sends += 1
        frontend = replica.model.frontend
        delay_s = frontend.request_s + frontend.prompt_token_s * ticket.request.prompt_tokens
        if delay_s:
            self.agenda.at(now_s + delay_s, self._submit_later, (ticket, ticket.sends))
        else:
            self._submit(now_s, ticket, replica)

    def _submit_later(self, now_s: float, sent: tuple[Ticket, int]) -> None:
        ticket, sends = sent
        if not ticket.status and ticket.sends == sends and ticket.replica is not None:
            self._submit(now_s, ticket, ticket.replica)

    def _submit(self, now_s: float, ticket: Ticket, replica: Replica) -> None:
        if now_s >= replica.next_scrape_s:
            replica.scrape(now_s)
        ranks = replica.ranks
        rank = ranks[0] if len(ranks) == 1 else ranks[pick_rank([r.engine for r in ranks])]
        asked = ticket.request
        is_prefill = self.disaggregated and not ticket.stage
        request = Request(
            ticket.number,
            asked.prompt_tokens,
            1 if is_prefill else asked.output_tokens,
            self._chain(asked, replica.model.settings.block_tokens) if asked.hash_ids else b"",
            asked.adapter,
            remote_kv=ticket.prefill is not None,
            hold_kv=is_prefill,
        )
        try:
            ticket.sequence = rank.engine.submit(now_s, request)
        except RequestTooLong:
            self._lose(now_s, ticket, FAILED, "too_long")
            return
        ticket.rank = rank
        if ticket.prefill is not None:
            rank.fetching.append(ticket)
        self._touched(now_s, rank)

    def _chain(self, request: TraceRequest, block_tokens: int) -> bytes:
        chains = self._chains.get(block_tokens)
        if chains is None:
            chains = self._chains[block_tokens] = Chains(block_tokens)
        return chains.of(request)

    # Engines

    def _step(self, now_s: float, rank: Rank) -> None:
        """An engine changes by itself."""
        if rank.due_s != now_s:
            return
        replica = rank.replica
        if now_s >= replica.next_scrape_s:
            replica.scrape(now_s)
        rank.engine.advance(now_s)
        self._touched(now_s, rank)

    def _touched(self, now_s: float, rank: Rank) -> None:
        """An engine was called: take what has ended, and note when it changes next."""
        engine = rank.engine
        if engine.finished:
            ended = engine.finished[:]
            engine.finished.clear()
            for sequence in ended:
                self._sequence_ended(now_s, rank, sequence)
        if rank.fetching:
            self._release_fetched(now_s, rank)
        next_s = engine.next_s
        if next_s != rank.due_s:
            rank.due_s = next_s
            self.agenda.at(next_s, self._step, rank)

    def _sequence_ended(self, now_s: float, rank: Rank, sequence: EngineSequence) -> None:
        ticket = self._open.get(int(sequence.request.id))
        if ticket is None or ticket.sequence is not sequence:
            # Its client has gone in the same iteration.
            if sequence.state is State.HELD:
                rank.engine.release(now_s, sequence)
            return
        rank.replica.tally.sequence_s += sequence.finished_s - sequence.scheduled_s
        ticket.preemptions += sequence.preemptions
        if sequence.request.hold_kv:
            self._hand_over(now_s, ticket, rank, sequence)
            return
        if not ticket.stage:
            ticket.scheduled_s, ticket.cached_tokens = sequence.scheduled_s, sequence.cached_tokens
        ticket.generated_tokens = sequence.request.output_tokens
        rank.replica.finished_requests += 1
        response_s = rank.replica.model.frontend.response_s
        first_s, end_s = sequence.first_token_s + response_s, sequence.finished_s + response_s
        rank.replica.ttft.add(first_s - ticket.arrived_s)
        rank.replica.e2e.add(end_s - ticket.arrived_s)
        ticket.status = FINISHED
        self._front.answered(ticket, first_s, end_s)
        self.measures.finishes(ticket, first_s, end_s)
        self._close(now_s, ticket, first_s, end_s)

    def _hand_over(self, now_s: float, ticket: Ticket, rank: Rank, sequence: EngineSequence) -> None:
        """The prompt is computed; a decode replica is to fetch its KV cache."""
        replica = rank.replica
        replica.holds += 1
        replica.finished_requests += 1
        ticket.prefill, ticket.prefill_sequence, ticket.prefill_replica = rank, sequence, replica.address
        ticket.scheduled_s, ticket.cached_tokens = sequence.scheduled_s, sequence.cached_tokens
        ticket.stage = 1
        self._front.prefilled(now_s, ticket)
        self._leave(now_s, ticket)
        self._route(now_s, ticket)

    def _release_fetched(self, now_s: float, rank: Rank) -> None:
        """Prefill engines need no longer hold what has arrived here."""
        under_way = rank.engine.scheduler.fetching
        still = []
        for ticket in rank.fetching:
            sequence = ticket.sequence
            if ticket.rank is not rank or sequence is None or ticket.prefill is None:
                continue
            if sequence.state is State.WAITING or sequence in under_way:
                still.append(ticket)
            else:
                self._release(now_s, ticket)
        rank.fetching = still

    def _release(self, now_s: float, ticket: Ticket) -> None:
        """The KV cache that a prefill engine holds for a request is not needed any more."""
        prefill, sequence = ticket.prefill, ticket.prefill_sequence
        if prefill is None or sequence is None:
            return
        ticket.prefill = ticket.prefill_sequence = None
        replica = prefill.replica
        replica.holds -= 1
        if prefill in replica.ranks:
            if now_s >= replica.next_scrape_s:
                replica.scrape(now_s)
            prefill.engine.release(now_s, sequence)
            self._touched(now_s, prefill)
        self.lifecycle.left(now_s, replica)

    # Ends

    def _leave(self, now_s: float, ticket: Ticket) -> None:
        """The request is no longer at its replica."""
        replica = ticket.replica
        if replica is None:
            return
        self._front.broke_off(now_s, ticket)
        ticket.replica = ticket.rank = ticket.sequence = None
        if replica.tickets.pop(ticket.number, None) is not None:
            replica.in_flight -= 1
            replica.changed()
            self.lifecycle.left(now_s, replica)

    def _close(self, now_s: float, ticket: Ticket, first_token_s: float | None, end_s: float) -> None:
        """The one end of a request: its record, and the next turn of its conversation."""
        del self._open[ticket.number]
        request = ticket.request
        self.records.write(record_of(ticket, first_token_s, end_s))
        self._leave(now_s, ticket)
        self._release(now_s, ticket)
        if request.session:
            self._next_turn(now_s, request.session)

    def _next_turn(self, now_s: float, session: str) -> None:
        waiting = self._sessions[session]
        if not waiting:
            del self._sessions[session]
            return
        # Later than now, so that turns that fail at once do not nest.
        self.agenda.at(now_s, self._begin, waiting.popleft())

    def _lose(self, now_s: float, ticket: Ticket, status: str, reason: str) -> None:
        """A request ends without all its tokens, wherever it is."""
        ticket.status, ticket.reason = status, reason
        sequence, rank = ticket.sequence, ticket.rank
        first_token_s: float | None = None
        if sequence is not None and rank is not None:
            if not sequence.request.hold_kv:
                ticket.generated_tokens = rank.engine.tokens_of(sequence, now_s)
                ticket.scheduled_s = max(ticket.scheduled_s, sequence.scheduled_s)
                first_token_s = sequence.first_token_s if sequence.first_token_s >= 0 else None
            if sequence.scheduled_s >= 0:
                rank.replica.tally.sequence_s += now_s - sequence.scheduled_s
            ticket.preemptions += sequence.preemptions
        else:
            self._held[self._role(ticket)].pop(ticket, None)
        self.measures.is_lost(ticket, now_s)
        self._close(now_s, ticket, first_token_s, now_s)
        if sequence is not None and rank is not None and rank.replica.phase is not Phase.DOWN:
            if now_s >= rank.replica.next_scrape_s:
                rank.replica.scrape(now_s)
            rank.engine.abort(now_s, sequence)
            self._touched(now_s, rank)

    def _lose_patience(self, now_s: float, ticket: Ticket) -> None:
        if not ticket.status and not ticket.client_has_token:
            self._lose(now_s, ticket, ABANDONED, "no_first_token_in_time")

    def _pass_deadline(self, now_s: float, ticket: Ticket) -> None:
        if not ticket.status:
            self._lose(now_s, ticket, ABANDONED, "deadline")

    # What the lifecycle tells

    def replica_ready(self, now_s: float, replica: Replica) -> None:
        """Send what waited for it."""
        held = self._held[self.lifecycle.pools[replica.pool].spec.role]
        waiting = list(held)
        held.clear()
        for ticket in waiting:
            self._route(now_s, ticket)

    def replica_crashes(self, now_s: float, replica: Replica) -> None:
        """Its requests are lost, and those whose KV cache it holds for others."""
        for ticket in list(self._open.values()):
            if ticket.replica is replica or (ticket.prefill is not None and ticket.prefill.replica is replica):
                self._crashed(now_s, ticket, replica)

    def _crashed(self, now_s: float, ticket: Ticket, dead: Replica) -> None:
        gateway = self.gateway
        too_late = gateway.retry == "before-first-token" and ticket.client_has_token
        if gateway.retry == "never" or too_late or ticket.retries >= gateway.max_retries:
            self._lose(now_s, ticket, FAILED, "replica_crashed")
            return
        sequence, rank = ticket.sequence, ticket.rank
        self._held[self._role(ticket)].pop(ticket, None)
        self._leave(now_s, ticket)
        self._release(now_s, ticket)
        if sequence is not None and rank is not None:
            if sequence.scheduled_s >= 0:
                rank.replica.tally.sequence_s += now_s - sequence.scheduled_s
            if rank.replica is not dead:
                rank.engine.abort(now_s, sequence)
                self._touched(now_s, rank)
        ticket.retries += 1
        ticket.stage = 0
        ticket.prefill_replica = ""
        ticket.scheduled_s = -1.0
        ticket.cached_tokens = 0
        self._route(now_s, ticket)

    def replica_ends(self, replica: Replica) -> None:
        """What was known of it holds no more."""
        self._front.gone(replica)

    def held_requests(self, role: str) -> int:
        """Requests that wait for a replica of this role."""
        return len(self._held[role])

    # Samples

    def _sample(self, now_s: float, _: object) -> None:
        series = self.measures.series
        series.sample(now_s, self.lifecycle.replicas, sum(map(len, self._held.values())))
        self.agenda.at(now_s + series.bin_s, self._sample, None, tick=True)
