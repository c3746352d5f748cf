"""From a request to its endpoint or to an answer of the gateway itself. Knows nothing of Envoy.

The order of things a request passes: path, parse (unless the path names the model), model → pool and target, flow
control, pick, and where the prompt is to be computed elsewhere, that. Later steps of the way have their place here:
keys and quotas before flow control, a cache of answers before the pick, other providers where no endpoint is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from random import Random

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway import errors
from fairlead.gateway.adapter_wait import AdapterWait
from fairlead.gateway.asked import NO_TIMES, RETRY_AFTER_S, Asked
from fairlead.gateway.endpoints import Registry
from fairlead.gateway.errors import Reply, Shape
from fairlead.gateway.exact_prefixes import ExactPrefixes
from fairlead.gateway.flow import Gates, Item, Rejection
from fairlead.gateway.latency.output_lengths import LONGEST_TOKENS, OutputLengths
from fairlead.gateway.load import InFlight
from fairlead.gateway.local_answers import LocalAnswers
from fairlead.gateway.observe.hooks import Hooks, NoHooks
from fairlead.gateway.observe.metrics import GatewayMetrics
from fairlead.gateway.observe.traffic import Traffic
from fairlead.gateway.pick import NoPick, Pick, Query, Step, decide
from fairlead.gateway.pick.sessions import SessionTable
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.plan import Plans
from fairlead.gateway.pool_choice import PoolChoice
from fairlead.gateway.prefix.blocks import space_of, text_blocks
from fairlead.gateway.protocol import ENGINE_PROTOCOL_HEADER
from fairlead.gateway.requests import (
    Api,
    BadBody,
    BadHeader,
    Control,
    InferenceRequest,
    TokenRatios,
    parse,
    read_control,
    rewrite_model,
    without_places,
)
from fairlead.gateway.resolve import Resolved
from fairlead.gateway.route import Completion, Held, Outcome, RequestHead, Route
from fairlead.gateway.splitting import Headers, Legs, Splitter

_log = logging.getLogger(__name__)


class Director:
    """Routes requests by the registry's pools, their plans and what the picker knows of endpoints."""

    def __init__(
        self,
        registry: Registry,
        picker: EndpointPicker,
        plans: Plans,
        gates: Gates,
        splitter: Splitter,
        metrics: GatewayMetrics,
        clock: Clock = SYSTEM,
        *,
        random: Random | None = None,
        hooks: Hooks | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._registry = registry
        self._picker = picker
        self._plans = plans
        self._gates = gates
        self._splitter = splitter
        self._metrics = metrics
        self._clock = clock
        self._draw = (random or Random()).random
        self._hooks = hooks or NoHooks()
        self._traffic = traffic
        self._local = LocalAnswers(registry)
        self.pools = PoolChoice(registry, plans, self._local)
        self._sessions = SessionTable()
        self.adapters = AdapterWait(clock)
        self.output_lengths = OutputLengths()
        self._token_ratios = TokenRatios()
        self.exact: ExactPrefixes | None = None
        """Sees to the tokens of prompts in pools that ask for it; set when the event loop runs."""
        self.tells_scores = False
        """Routes say how each candidate scored."""
        plans.on_replan.append(self._replanned)
        picker.loads.on_lost = self._lost

    def is_reachable(self, address: str) -> bool:
        """Whether the endpoint is believed to take connections."""
        return self._picker.loads.of(address).reachable

    # A request comes.

    def decide_on_headers(self, head: RequestHead) -> Outcome | None:
        """What the head alone decides: an answer of the gateway, or the route of a path that names its model.

        None for a request whose body has to be read, or which has to wait (see `route`).
        """
        path = head.target.partition("?")[0]
        found = head.path = self.pools.path(head)
        if found is None:
            reply = self._local.answer(head.method, head.target, head.headers)
            return self._told(reply or errors.unknown_path(head.method, path), errors.shape_of(path))
        if head.method not in found.methods:
            return self._told(errors.method_not_allowed(head.method, path, found.methods[0]), errors.shape_of(path))
        if found.api is not Api.PATH:
            return None
        pool = self.pools.of_path(found)
        if pool is not None and not self._gates.of(pool.key).is_open(0) and "POST" in found.methods:
            # It has to wait, and comes again with its body.
            return None
        outcome: list[Outcome] = []
        waits = self._ask(head, b"", InferenceRequest(Api.PATH, found.model), outcome.append)
        if waits is None:
            return outcome[0]
        waits.abandon()
        if "POST" in found.methods:
            return None
        return self._told(
            errors.no_endpoints(f"The model `{found.model}` is busy or starting.", 1), Shape.OPEN_INFERENCE
        )

    def route(self, head: RequestHead, body: bytes, decided: Callable[[Outcome], None]) -> Held | None:
        """Decide on a request with its whole body: before this returns, or later."""
        found = head.path or self.pools.path(head)
        if found is None or found.api is Api.PATH:
            name = found.model if found is not None else ""
            return self._ask(head, body, InferenceRequest(Api.PATH, name), decided)
        try:
            request = parse(found.api, body)
        except BadBody as error:
            decided(self._told(errors.bad_request(str(error), error.param), self._shape(head)))
            return None
        except Exception:
            _log.exception("a body for %s could not be read", head.target[:100])
            decided(self._told(errors.internal(), self._shape(head)))
            return None
        return self._ask(head, body, request, decided)

    def _ask(
        self, head: RequestHead, body: bytes, request: InferenceRequest, decided: Callable[[Outcome], None]
    ) -> Held | None:
        headers = head.headers
        try:
            control = read_control(headers) if headers else _NOTHING_ASKED
        except BadHeader as error:
            decided(self._told(errors.bad_request(str(error), error.header), self._shape(head)))
            return None
        resolved = self.pools.resolve(head, request.model, control.rewrite, self._draw())
        if isinstance(resolved, Reply):
            decided(self._told(resolved, self._shape(head)))
            return None
        asked = self._asked(head, body, request, control, resolved, decided)
        if self.exact is None or asked.plan.settings.precise_prefix is None:
            return self._enter(asked)
        waits: Held | None = None

        def go() -> None:
            nonlocal waits
            asked.leg = None
            waits = self._enter(asked)

        tokenizing = self.exact.begin(asked, go)
        if tokenizing is None:
            # `go` was called, and the request may have legs under way by now.
            return waits
        asked.leg = tokenizing
        return asked

    def _asked(
        self,
        head: RequestHead,
        body: bytes,
        request: InferenceRequest,
        control: Control,
        resolved: Resolved,
        decided: Callable[[Outcome], None],
    ) -> Asked:
        pool = resolved.pool
        priority = pool.objectives.get(control.objective, 0) if control.objective else 0
        tenant = control.fairness_id
        expected = self.output_lengths.expected_tokens(resolved.model, tenant, request.max_output_tokens)
        prompt_tokens = request.prompt_tokens
        if request.token_ids is None:
            prompt_tokens = self._token_ratios.corrected(resolved.model, prompt_tokens)
        query = Query(
            resolved.model, resolved.adapter, prompt_tokens, expected * request.choices, priority, tenant,
            control.session_id or request.session, control.session_endpoint, control.ttft_slo_s, control.itl_slo_s,
            frozenset(head.subset) if head.subset is not None else None,
        )  # fmt: skip
        blocks = None
        if request.prompt and prompt_tokens:
            token_bytes = len(request.prompt) / prompt_tokens
            blocks = text_blocks(request.prompt, space_of(resolved.model, request.salt), token_bytes=token_bytes)
        series = self._metrics.requests.of(pool.key, request.model, resolved.model, tenant, priority)
        plan = self._plans.of(pool)
        shape = Shape.OPENAI if request.api is Api.CHAT else self._shape(head)
        asked = Asked(self, head, shape, body, request, resolved, plan, query, blocks, series, decided)
        asked.if_available = control.if_available
        return asked

    def _enter(self, asked: Asked) -> Held | None:
        query = asked.query
        if self._plans.get(asked.plan.pool.key) is None:
            # It went while the prompt was tokenised.
            self.refuse(asked, errors.no_endpoints("The model's pool was removed.", RETRY_AFTER_S))
            return None
        deadline_s = None if query.ttft_slo_s is None else asked.head.received_s + query.ttft_slo_s
        item = Item(
            query.priority, query.fairness_id, query.prompt_tokens + query.output_tokens, len(asked.body), deadline_s
        )
        waiting = self._gates.of(asked.resolved.pool.key).enter(item, asked.turn)
        asked.waiting = waiting
        return asked if waiting is not None or asked.leg is not None else None

    # Its turn has come.

    def take_turn(self, asked: Asked, rejection: Rejection | None) -> None:
        """The gate has let a request go on, or refused it."""
        try:
            if rejection is not None:
                self.refuse(asked, asked.dropped(rejection))
            else:
                self._send(asked)
        except Exception:
            if asked.is_decided:
                raise
            _log.exception("a decision on a request for %s failed", asked.query.model)
            if asked.pick_id:
                self.abandoned(asked)
            self.refuse(asked, errors.internal())

    def _send(self, asked: Asked) -> None:
        now_s = self._clock.monotonic_s()
        # Endpoints may have come or gone while it waited.
        plan = asked.plan = self._plans.get(asked.plan.pool.key) or asked.plan
        query, picker = asked.query, self._picker
        addresses = plan.answering
        draw = self._draw()
        sticky = plan.settings.sticky_sessions and query.session
        if sticky and not query.session_endpoint:
            query.session_endpoint = self._sessions.endpoint_of(plan.pool.key, query.session, now_s)
        context = picker.context(query, asked.blocks, addresses, now_s, draw)
        if asked.if_available:
            context = context.only([n for n, tokens in enumerate(context.matched) if tokens])
            addresses = tuple([candidate.address for candidate in context.candidates])
        seen = self._hooks.deciding(context)
        steps: list[Step] | None = [] if self.tells_scores else None
        asked.profile = plan.settings.gated if asked.has_waited else plan.settings.profile
        pick = decide(asked.profile, context, steps)
        if isinstance(pick, NoPick):
            if not self._wait_for_adapter(asked):
                self.refuse(asked, asked.without_endpoint(pick))
            return
        try:
            body = self._rewritten(asked)
        except BadBody as error:
            # What nobody reads is read here alone: keys that are no text, for example.
            self.refuse(asked, errors.bad_request(str(error), error.param))
            return
        position = addresses.index(pick.address)
        matched = context.matched[position]
        if plan.prefilling:
            # Whether the prompt is computed elsewhere is decided on what was there before this request.
            context.candidates[position] = copy(context.candidates[position])
        picked = picker.commit(pick, query, asked.blocks, matched, now_s, asked, cold=not any(context.matched))
        if sticky:
            self._sessions.served(plan.pool.key, query.session, pick.address, now_s)
        asked.picked_s, asked.matched_tokens = now_s, matched
        asked.scores = steps[-1].values if steps else {}
        asked.series.goes(len(asked.body), query.prompt_tokens, matched)
        asked.pick_id = picked.pick_id
        self._observe(asked)
        headers = self._hooks.picked(asked, context, picked, seen)
        self._metrics.decision_s.add(self._clock.monotonic_s() - now_s)
        if plan.is_split:
            kept = plan.kept_apart(pick)

            def proceed(changed: bytes | None, more: Headers) -> None:
                asked.picked_s = self._clock.monotonic_s()
                self._go(asked, kept, body if changed is None else changed, headers + more)

            def refuse(message: str) -> None:
                self.abandoned(asked)
                self.refuse(asked, errors.no_endpoints(message, RETRY_AFTER_S, "no_prefill_endpoints"))

            whole = asked.body if body is None else body
            if self._splitter.begin(asked, context, pick, whole, proceed, refuse):
                return
        self._go(asked, pick, body, headers)

    def _observe(self, asked: Asked) -> None:
        if asked.plan.pool.reports and self._traffic is not None:
            self._traffic.began(asked, asked.pick_id)

    def _wait_for_adapter(self, asked: Asked) -> bool:
        """Whether the request waits for its adapter, or has gone on under the name of a newer version of it."""
        held = self.adapters.hold(
            asked, lambda: self.pools.resolve(asked.head, asked.request.model, "", self._draw())
        )  # fmt: skip
        if held == "moved":
            self._send(asked)
        return held != ""

    def _rewritten(self, asked: Asked) -> bytes | None:
        """The body with the target's name; None when the client's own will do."""
        model, target = asked.request.model, asked.resolved.model
        body = None
        if asked.request.names_places:
            # Where an engine fetches a KV cache from is not the client's to say.
            body = without_places(asked.body)
        if model == target or model in asked.resolved.pool.known_names or asked.request.api is Api.PATH:
            return body
        self._metrics.rewritten(model, target)
        return rewrite_model(asked.body if body is None else body, model, target)

    def _go(self, asked: Asked, pick: Pick, body: bytes | None, headers: Headers) -> None:
        if asked.plan.pool.h2c:
            headers = (*headers, (ENGINE_PROTOCOL_HEADER, "h2c"))
        plan, model = asked.plan, asked.request.model
        told = plan.session_token(pick.address) if plan.settings.gives_session_tokens else ()
        asked.decide(Route(plan.pool.key, model, pick, asked.pick_id, body, headers, asked.scores, told))

    def abandoned(self, asked: Asked) -> None:
        """The client left while legs of its request were under way: the pick will have no end of its own."""
        request = self._picker.loads.ended(asked.pick_id)
        if request is not None and request.counted:
            asked.series.running -= 1
        self._gates.poke(asked.plan.pool.key)

    def refuse(self, asked: Asked, reply: Reply) -> None:
        """The answer of the gateway itself."""
        asked.series.refused(reply.reason)
        asked.decide(self._told(reply, asked.shape))

    def _told(self, reply: Reply, shape: Shape) -> Reply:
        self._metrics.answers(reply.reason, reply.status)
        return errors.shaped(reply, shape)

    def _shape(self, head: RequestHead) -> Shape:
        return errors.shape_of(head.target.partition("?")[0])

    # Its end.

    def completed(self, completion: Completion) -> None:
        """A routed request is over: count it no more, learn from it, and let the next one have its place."""
        request = self._picker.loads.in_flight(completion.pick_id)
        if request is None:
            self._hooks.unknown_end(completion)
            return
        asked = request.tag
        counted = request.counted
        times = asked.times(completion) if counted and isinstance(asked, Asked) else NO_TIMES
        self._picker.ended(
            completion.pick_id, ttft_s=times.ttft_s, itl_s=times.itl_s, cached_tokens=completion.cached_tokens,
            whole_s=times.whole_s, output_tokens=completion.output_tokens,
        )  # fmt: skip
        if counted:
            # Of another request nobody knows whether the endpoint is the one it was sent to.
            if completion.connect_failed:
                self._picker.loads.connect_failed(request.address)
            self._hooks.ended(request, completion)
        if not isinstance(asked, Asked):
            return
        asked.series.ended(completion, times.itl_s, counted=counted)
        if asked.plan.pool.reports and self._traffic is not None:
            self._traffic.ended(asked, request, completion)
        if isinstance(asked.leg, Legs):
            self._splitter.ended(asked.leg, fetched=bool(completion.served))
        if completion.output_tokens is not None:
            query, key = asked.query, asked.plan.pool.key
            # An engine that counts nonsense does not shut a tenant out.
            more_tokens = min(max(completion.output_tokens, 0), LONGEST_TOKENS) - query.output_tokens
            self._gates.settle(key, query.priority, query.fairness_id, more_tokens)
        if completion.output_tokens is not None and completion.code == 200:
            self.output_lengths.observe(asked.query.model, asked.query.fairness_id, completion.output_tokens)
        if completion.prompt_tokens is not None and asked.request.token_ids is None:
            self._token_ratios.observe(asked.query.model, asked.request.prompt_tokens, completion.prompt_tokens)
        self._gates.poke(asked.plan.pool.key)

    def _lost(self, request: InFlight) -> None:
        """It is counted no more, and may never be reported as over."""
        if isinstance(request.tag, Asked):
            request.tag.series.running -= 1

    def _replanned(self, key: str) -> None:
        plan = self._plans.get(key)
        if plan is None:
            self._gates.forget(key)
            self._metrics.forget_pool(key)
        else:
            self._gates.reconfigure(key, plan.settings.flow)
            self._gates.poke(key)
        self.adapters.changed(key, plan)


_NOTHING_ASKED = Control()
