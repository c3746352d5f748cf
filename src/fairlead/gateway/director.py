"""From a request to its endpoint or to an answer of the gateway itself. Knows nothing of Envoy.

The order of things a request passes: path, parse (unless the path names the model), model → pool, pick. Later steps of
the way (keys, quotas, flow control, disaggregation) have their place between parse and pick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead import __version__
from fairlead.clock import SYSTEM, Clock
from fairlead.gateway import errors
from fairlead.gateway.endpoints import Pool, Registry
from fairlead.gateway.errors import Reply
from fairlead.gateway.load import LoadTable
from fairlead.gateway.pick import NoPick, pick_least_loaded
from fairlead.gateway.request import MODEL_PATHS, BadBody, model_in_path, parse
from fairlead.gateway.route import Completion, Held, Outcome, RequestHead, Route

RETRY_AFTER_S = 1
"""What a client without an endpoint is told to wait: local replicas start within seconds."""

_V2_SERVER: Mapping[str, Mapping[str, object]] = {
    "/v2": {"name": "fairlead", "version": __version__, "extensions": []},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
}
"""The server resources of the Open Inference Protocol, which clients of it ask before they ask for a model."""


class Director:
    """Routes requests by the registry's pools and the table's loads."""

    def __init__(
        self,
        registry: Registry,
        loads: LoadTable,
        clock: Clock = SYSTEM,
        *,
        observe: Callable[[Outcome, float], None] | None = None,
        observe_end: Callable[[Completion], None] | None = None,
    ) -> None:
        self._registry = registry
        self._loads = loads
        self._clock = clock
        self._observe = observe
        self._observe_end = observe_end

    def decide_on_headers(self, head: RequestHead) -> Outcome | None:
        """What the request line alone decides, see `_on_headers`."""
        outcome = self._on_headers(head.method, head.target)
        if outcome is not None and self._observe is not None:
            self._observe(outcome, self._clock.monotonic_s() - head.received_s)
        return outcome

    def route(self, head: RequestHead, body: bytes, decided: Callable[[Outcome], None]) -> Held | None:
        """Decide on a request for a model and count it as in flight at the endpoint it gets."""
        began_s = self._clock.monotonic_s()
        outcome = self._route(body)
        if self._observe is not None:
            self._observe(outcome, self._clock.monotonic_s() - began_s)
        decided(outcome)
        return None

    def completed(self, completion: Completion) -> None:
        """Lower the count of what has ended, and leave an endpoint alone that did not take the connection."""
        request = self._loads.ended(completion.pick_id)
        if request is not None and completion.connect_failed:
            self._loads.connect_failed(request.address)
        if self._observe_end is not None:
            self._observe_end(completion)

    def _on_headers(self, method: str, target: str) -> Outcome | None:
        """What the request line alone decides: the route of a path that names its model, or an answer of the gateway.

        None for a request whose body has to be read (see `route`).
        """
        path = target.partition("?")[0]
        if path in MODEL_PATHS:
            return None if method == "POST" else errors.method_not_allowed(method, path, "POST")
        if path in ("/healthz", "/readyz", "/livez"):
            return Reply(200, b"ok", "health", {"content-type": "text/plain"})
        named = model_in_path(path)
        if named is not None:
            if method not in named.methods:
                return errors.in_v2_form(errors.method_not_allowed(method, path, named.methods[0]))
            outcome = self._route_to(named.model)
            return errors.in_v2_form(outcome) if isinstance(outcome, Reply) else outcome
        if path in _V2_SERVER:
            if method not in ("GET", "HEAD"):
                return errors.method_not_allowed(method, path, "GET")
            return errors.answer(_V2_SERVER[path], "v2")
        if path == "/v1/models" or path.startswith("/v1/models/"):
            if method not in ("GET", "HEAD"):
                return errors.method_not_allowed(method, path, "GET")
            return self._models(path.removeprefix("/v1/models").removeprefix("/"))
        return errors.unknown_path(method, path)

    def _route(self, body: bytes) -> Outcome:
        try:
            request = parse(body)
        except BadBody as error:
            return errors.bad_request(str(error), error.param)
        return self._route_to(request.model)

    def _route_to(self, model: str) -> Outcome:
        pool = self._registry.pool_of(model)
        if pool is None:
            return errors.unknown_model(model, sum(1 for _ in self._registry.models))
        now_s = self._clock.monotonic_s()
        decision = pick_least_loaded(self._loads.candidates([e.address for e in pool.endpoints], now_s))
        if isinstance(decision, NoPick):
            return _no_endpoint(model, pool, decision)
        pick_id = self._loads.picked(decision.address, now_s)
        return Route(pool.key, model, decision, pick_id)

    def _models(self, name: str) -> Reply:
        if not name:
            cards = [self._card(model) for model in self._registry.models]
            return errors.answer({"object": "list", "data": cards}, "models")
        if self._registry.pool_of(name) is None:
            return errors.unknown_model(name, sum(1 for _ in self._registry.models))
        return errors.answer(self._card(name), "models")

    def _card(self, model: str) -> dict[str, object]:
        pool = self._registry.pool_of(model)
        root = pool.models[0] if pool else model
        return {"id": model, "object": "model", "created": 0, "owned_by": "fairlead", "root": root}


def _no_endpoint(model: str, pool: Pool, decision: NoPick) -> Reply:
    message = f"The model `{model}` has no endpoint: {decision.message} in pool {pool.key}. Try again later."
    return errors.unavailable(message, decision.code, RETRY_AFTER_S)
