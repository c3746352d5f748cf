"""`/v1/models` and `/v1/models/NAME` over all pools, in OpenAI's form or Anthropic's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fairlead.gateway.endpoints import Pool

ANTHROPIC_VERSION_HEADER: Final = "anthropic-version"
"""Its presence asks for Anthropic's form."""

_EPOCH: Final = "1970-01-01T00:00:00Z"
_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A name that requests may ask for."""

    name: str
    root: str
    """The model's own name."""
    parent: str | None = None
    """The model that an adapter belongs to."""


def cards(pools: Iterable[Pool]) -> list[ModelCard]:
    """One for each name, sorted; where several pools have a name, the oldest pool's."""
    found: dict[str, ModelCard] = {}
    for pool in sorted(pools, key=lambda p: (p.age_key, p.key)):
        base = pool.models[0] if pool.models else ""
        for name in pool.models:
            found.setdefault(name, ModelCard(name, base))
        for name in pool.adapters:
            found.setdefault(name, ModelCard(name, name, base or None))
        for name in (name for rule in pool.rewrites for name in rule.models):
            found.setdefault(name, ModelCard(name, base or name))
    return [found[name] for name in sorted(found)]


def openai_card(card: ModelCard) -> dict[str, Any]:
    return {
        "id": card.name, "object": "model", "created": 0, "owned_by": "fairlead", "root": card.root,
        "parent": card.parent,
    }  # fmt: skip


def openai_list(models: Iterable[ModelCard]) -> dict[str, Any]:
    return {"object": "list", "data": [openai_card(card) for card in models]}


def anthropic_card(card: ModelCard) -> dict[str, Any]:
    return {
        "type": "model", "id": card.name, "display_name": card.name, "created_at": _EPOCH, "lifecycle": "active",
    }  # fmt: skip


def anthropic_list(models: list[ModelCard], query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the list: `limit`, `after_id` and `before_id` of the query as Anthropic's API has them."""
    names = [card.name for card in models]
    limit = query.get("limit", "")
    size = min(max(1, int(limit)), _MAX_LIMIT) if limit.isdecimal() and len(limit) < 10 else _DEFAULT_LIMIT
    after, before = query.get("after_id"), query.get("before_id")
    if before in names:
        end = names.index(before)
        page = models[max(0, end - size) : end]
        more = end > size
    else:
        start = names.index(after) + 1 if after in names else 0
        page = models[start : start + size]
        more = start + size < len(models)
    return {
        "data": [anthropic_card(card) for card in page],
        "has_more": more,
        "first_id": page[0].name if page else None,
        "last_id": page[-1].name if page else None,
    }
