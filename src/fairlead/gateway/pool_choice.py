"""Which pool a request is for, by the model it names, the gateway's word, or because there is one pool alone."""

from __future__ import annotations

from fairlead.gateway import errors
from fairlead.gateway.asked import RETRY_AFTER_S
from fairlead.gateway.endpoints import Pool, Registry
from fairlead.gateway.errors import Reply
from fairlead.gateway.local_answers import LocalAnswers
from fairlead.gateway.plan import Plans
from fairlead.gateway.requests import Api, find
from fairlead.gateway.requests.paths import POST_PATHS, ModelPath
from fairlead.gateway.resolve import NotFound, Resolved
from fairlead.gateway.route import RequestHead

_APIS = {path: api for path, api in POST_PATHS.items() if path.startswith("/v1/")}


def _api_of(path: str) -> Api | None:
    """The API of a path that has more before it, as gateways' routes may have; completions where there is no path."""
    if not path:
        return Api.COMPLETIONS
    return next((api for known, api in _APIS.items() if path.endswith(known)), None)


class PoolChoice:
    """Reads the registry; decides nothing about endpoints."""

    def __init__(self, registry: Registry, plans: Plans, local: LocalAnswers) -> None:
        self._registry = registry
        self._plans = plans
        self._local = local
        self.one_pool = False
        """All that comes is for the one pool there is, whatever its path: the gateway before it has chosen."""

    def path(self, head: RequestHead) -> ModelPath | None:
        """What a request's path leads to; None for what only the gateway itself may answer."""
        path = head.target.partition("?")[0]
        found = find(path)
        if not self.one_pool:
            return found
        if found is None and (api := _api_of(path)) is not None:
            found = ModelPath("", (head.method,), api)
        return ModelPath("", (head.method,)) if self._passes(path, found, head.ends) else found

    def of_path(self, path: ModelPath) -> Pool | None:
        """The pool of a path whose body is not read."""
        return self._registry.pool_of(path.model) if path.model else self.only()

    def resolve(self, head: RequestHead, model: str, rewrite: str, draw: float) -> Resolved | Reply:
        """The pool and the name that its engines are asked for; `rewrite` and `draw` as in `resolve.resolve`."""
        pool: Pool | None = None
        if head.subset is not None:
            # A foreign gateway has chosen the pool already: its endpoints are the subset.
            if not head.subset:
                return errors.no_endpoints("The gateway's subset of endpoints is empty.", RETRY_AFTER_S)
            pool = self._registry.pool_at(head.subset, model)
        if not model:
            pool = pool or self.only()
            if pool is None:
                return self._unknown("")
        resolved = self._registry.resolve(model, rewrite, draw, pool)
        return self._unknown(model) if isinstance(resolved, NotFound) else resolved

    def only(self) -> Pool | None:
        """The one pool there is, if there is just one."""
        pools = self._registry.pools
        return next(iter(pools.values())) if len(pools) == 1 else None

    def _passes(self, path: str, found: ModelPath | None, ends: bool) -> bool:
        """Whether a request goes to the engines of the only pool unread: its path is not known, it has no body, or the
        pool's configuration reads none."""
        pool = self.only()
        if found is not None:
            return ends or (pool is not None and not self._plans.of(pool).settings.reads_bodies)
        if path == "/v1/models" or path.startswith("/v1/models/"):
            return pool is not None and not pool.models
        return not self._local.has(path)

    def _unknown(self, model: str) -> Reply:
        """No pool is meant by the name, or by none."""
        if self.one_pool and not self._registry.pools:
            return errors.no_endpoints("The pool of this picker does not exist.", RETRY_AFTER_S)
        served = len(self._registry.models)
        return errors.unknown_model(model, served) if model else errors.model_needed(served)
