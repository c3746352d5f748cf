"""The filter that keeps endpoints with room, by the measure of the detector `headroom`."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.profile import Filter
from fairlead.gateway.pick.query import Context
from fairlead.gateway.pick.room import Headroom, load_of

_DEFAULT = Headroom()


class RoomParameters(Parameters, frozen=True):
    """See `pick.room.Headroom`."""

    queue_slack_requests: float = _DEFAULT.queue_slack_requests
    queue_slack_ratio: float = _DEFAULT.queue_slack_ratio
    kv_fill: float = _DEFAULT.kv_fill
    prefill_backlog_s: float = _DEFAULT.prefill_backlog_s
    blind_requests: int = _DEFAULT.blind_requests

    def __post_init__(self) -> None:
        Headroom(**msgspec.structs.asdict(self))


def keep_room(parameters: RoomParameters) -> Filter:
    """Those that have room; passed over where none has."""
    settings = Headroom(**msgspec.structs.asdict(parameters))

    def keep(context: Context) -> list[int] | None:
        kept = [i for i, candidate in enumerate(context.candidates) if load_of(candidate, settings) < 1.0]
        return kept if len(kept) < len(context.candidates) else None

    return keep


PLUGINS: tuple[PluginType[Any], ...] = (PluginType("room-filter", RoomParameters, filter=keep_room),)
