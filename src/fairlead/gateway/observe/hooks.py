"""What the director tells others of each request: traces, kept decisions, outlier detection, peers, the scraper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fairlead.gateway.asked import Asked
    from fairlead.gateway.load import InFlight
    from fairlead.gateway.pick import Context
    from fairlead.gateway.picker import Picked
    from fairlead.gateway.route import Completion

Headers = tuple[tuple[str, str], ...]


class Hooks(Protocol):
    """Called on the way of each request; what these do counts as the picker's own time."""

    def deciding(self, context: Context) -> Context | None:
        """A decision is about to be made on this; returns what `picked` is to be given of it."""
        ...

    def picked(self, asked: Asked, context: Context, picked: Picked, seen: Context | None) -> Headers:
        """A request goes to its endpoint; returns headers to send with it."""
        ...

    def ended(self, request: InFlight, completion: Completion) -> None:
        """A request that this picker has sent is over."""
        ...

    def unknown_end(self, completion: Completion) -> None:
        """A request is over that this picker does not know: another replica's, or one from before a restart."""
        ...


class NoHooks:
    """Nobody is told."""

    def deciding(self, context: Context) -> Context | None:
        return None

    def picked(self, asked: Asked, context: Context, picked: Picked, seen: Context | None) -> Headers:
        return ()

    def ended(self, request: InFlight, completion: Completion) -> None:
        return None

    def unknown_end(self, completion: Completion) -> None:
        return None
