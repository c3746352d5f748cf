"""What the gateway answers itself: health, the list of models, and what clients of the Open Inference Protocol ask a
server before they ask for a model."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from fairlead import __version__
from fairlead.gateway import errors
from fairlead.gateway.endpoints import Registry
from fairlead.gateway.errors import Reply
from fairlead.gateway.requests import (
    ANTHROPIC_VERSION_HEADER,
    ModelCard,
    anthropic_card,
    anthropic_list,
    cards,
    openai_card,
    openai_list,
)

_V2_SERVER: Mapping[str, Mapping[str, object]] = {
    "/v2": {"name": "fairlead", "version": __version__, "extensions": []},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
}

_HEALTH = ("/healthz", "/readyz", "/livez", "/health", "/ping")


class LocalAnswers:
    """Answers from the registry. The cards are made anew when pools change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._cards: dict[str, ModelCard] | None = None
        registry.on_change(lambda change: self._forget())

    def has(self, path: str) -> bool:
        """Whether the path, without query, is of the gateway's own."""
        return path in _HEALTH or path in _V2_SERVER or path == "/v1/models" or path.startswith("/v1/models/")

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Reply | None:
        """The answer for a path that the gateway serves itself, None for every other one."""
        path, _, query = target.partition("?")
        reply: Reply
        if path in _HEALTH:
            return Reply(200, b"ok", "health", {"content-type": "text/plain"})
        if path in _V2_SERVER:
            reply = errors.answer(_V2_SERVER[path], "v2")
        elif path == "/v1/models":
            reply = self._list(query, headers)
        elif path.startswith("/v1/models/"):
            reply = self._one(path.removeprefix("/v1/models/"), headers)
        else:
            return None
        return reply if method in ("GET", "HEAD") else errors.method_not_allowed(method, path, "GET")

    def _list(self, query: str, headers: Mapping[str, str]) -> Reply:
        models = list(self._known().values())
        if ANTHROPIC_VERSION_HEADER in headers:
            return errors.answer(anthropic_list(models, dict(parse_qsl(query))), "models")
        return errors.answer(openai_list(models), "models")

    def _one(self, name: str, headers: Mapping[str, str]) -> Reply:
        known = self._known()
        card = known.get(name)
        if card is None:
            reply = errors.unknown_model(name, len(known))
            return errors.shaped(reply, errors.Shape.ANTHROPIC) if ANTHROPIC_VERSION_HEADER in headers else reply
        return errors.answer(
            anthropic_card(card) if ANTHROPIC_VERSION_HEADER in headers else openai_card(card), "models"
        )

    def _known(self) -> dict[str, ModelCard]:
        if self._cards is None:
            self._cards = {card.name: card for card in cards(self._registry.pools.values())}
        return self._cards

    def _forget(self) -> None:
        self._cards = None
