"""Filters by where a request can and may go at all; every profile begins with them."""

from __future__ import annotations

from typing import Any

from fairlead.gateway.pick.plugin import NoParameters, PluginType
from fairlead.gateway.pick.query import Context


def keep_subset(context: Context) -> list[int] | None:
    """Those that the request's subset names, by ip:port or by ip."""
    subset = context.query.subset
    if subset is None:
        return None
    return [
        i
        for i, c in enumerate(context.candidates)
        if c.address in subset or c.address.rpartition(":")[0].strip("[]") in subset
    ]


def keep_adapter(context: Context) -> list[int] | None:
    """Those that have the request's adapter loaded: another would answer that it does not know the model.

    Endpoints whose pool does not tell which pod has which adapter are kept.
    """
    adapter = context.query.adapter
    if not adapter:
        return None
    candidates = context.candidates
    kept = [i for i, c in enumerate(candidates) if c.adapters is None or adapter in c.adapters]
    return kept if len(kept) < len(candidates) else None


def keep_reachable(context: Context) -> list[int] | None:
    """Those that took their last connection."""
    kept = [i for i, c in enumerate(context.candidates) if c.reachable]
    return kept if len(kept) < len(context.candidates) else None


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("subset-filter", NoParameters, filter=lambda _: keep_subset, strict=lambda _: True),
    PluginType("adapter-filter", NoParameters, filter=lambda _: keep_adapter, strict=lambda _: True),
    PluginType("reachable-filter", NoParameters, filter=lambda _: keep_reachable),
)
