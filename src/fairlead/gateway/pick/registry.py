"""Every plugin type by its name, and profiles built from data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.gateway.pick.filters import access, labels, limits, prefix_affinity, room
from fairlead.gateway.pick.pickers import at_random, max_score
from fairlead.gateway.pick.plugin import PluginType
from fairlead.gateway.pick.profile import NamedFilter, NamedPicker, NamedScorer, Profile, Use
from fairlead.gateway.pick.scorers import affinity, context_length, engine_load, in_flight, latency, least_cost, prefix

_MODULES = (
    access, labels, limits, prefix_affinity, room,
    affinity, context_length, engine_load, in_flight, latency, least_cost, prefix,
    at_random, max_score,
)  # fmt: skip

PLUGIN_TYPES: Mapping[str, PluginType[Any]] = {plugin.name: plugin for module in _MODULES for plugin in module.PLUGINS}

DEFAULT_PICKER = "max-score-picker"
GUARDS = ("subset-filter", "adapter-filter", "reachable-filter")
"""Filters that every profile begins with, whatever else it is made of."""


class BadPlugin(ValueError):
    """A plugin that cannot be made: its type is unknown or its parameters are wrong."""


def build_profile(name: str, uses: Sequence[Use], *, guards: Sequence[str] = GUARDS) -> Profile:
    """The profile of these plugins, filters in their order. Without a picker among them `max-score-picker` is it."""
    filters: list[NamedFilter] = []
    scorers: list[NamedScorer] = []
    pickers: list[NamedPicker] = []
    present = {use.type for use in uses}
    uses = (*[Use(guard) for guard in guards if guard not in present], *uses)
    for use in uses:
        plugin, parameters = plugin_and_parameters(use.type, use.parameters)
        label = use.name or use.type
        if plugin.filter is not None:
            filters.append(NamedFilter(label, plugin.filter(parameters), plugin.strict(parameters)))
        if plugin.scorer is not None:
            scorers.append(NamedScorer(label, plugin.scorer(parameters), use.weight))
        if plugin.picker is not None:
            pickers.append(NamedPicker(label, plugin.picker(parameters)))
    if len(pickers) > 1:
        raise BadPlugin(
            f"profile {name!r} has {len(pickers)} pickers ({', '.join([p.name for p in pickers])}): keep one"
        )
    if not pickers:
        return build_profile(name, [*uses, Use(DEFAULT_PICKER)], guards=())
    return Profile(name, tuple(filters), tuple(scorers), pickers[0], uses)


def plugin_and_parameters(type_name: str, given: Mapping[str, Any]) -> tuple[PluginType[Any], Any]:
    """The plugin type and its checked parameters; raises `BadPlugin`."""
    plugin = PLUGIN_TYPES.get(type_name)
    if plugin is None:
        raise BadPlugin(f"unknown plugin type {type_name!r}: known are {', '.join(sorted(PLUGIN_TYPES))}")
    try:
        return plugin, msgspec.convert(dict(given), plugin.parameters)
    except msgspec.ValidationError as error:
        known = ", ".join([f.encode_name for f in msgspec.structs.fields(plugin.parameters)]) or "none"
        raise BadPlugin(f"parameters of {type_name}: {error}; it knows: {known}") from error
