"""Where peers are: a list that does not change, a folder of sockets, or the endpoints of a Kubernetes Service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fairlead.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from fairlead.kube.client import Client

POLL_INTERVAL_S = 0.5
SOCKET_SUFFIX = ".peer.sock"

Found = Callable[[Collection[str]], None]


class Discovery(Protocol):
    """Tells the places of all pickers, this one among them or not, whenever they change."""

    async def run(self, found: Found) -> None:
        """Tell until cancelled."""
        ...


class StaticPeers:
    """Places that are known from the start: `host:port` or `unix:/path`."""

    def __init__(self, places: Collection[str]) -> None:
        self._places = tuple(places)

    async def run(self, found: Found) -> None:
        """See `Discovery`."""
        found(self._places)
        await asyncio.Event().wait()


class FolderPeers:
    """Pickers on one machine: each has a socket in a folder that they share (see `socket_in`)."""

    def __init__(self, folder: Path, clock: Clock = SYSTEM) -> None:
        self._folder = folder
        self._clock = clock

    async def run(self, found: Found) -> None:
        """See `Discovery`."""
        before: list[str] | None = None
        while True:
            now = sorted(f"unix:{path}" for path in self._folder.glob(f"*{SOCKET_SUFFIX}"))
            if now != before:
                before = now
                found(now)
            await self._clock.sleep(POLL_INTERVAL_S)


def socket_in(folder: Path, replica: str) -> str:
    """The place of a picker in a shared folder."""
    return f"unix:{folder / (replica + SOCKET_SUFFIX)}"


class ServicePeers:
    """The pods behind a (headless) Service, ready or not: a picker that is just starting has load already."""

    def __init__(self, client: Client, namespace: str, service: str, port: int, clock: Clock = SYSTEM) -> None:
        """`port` is where pickers listen for peers."""
        self._client = client
        self._namespace = namespace
        self._service = service
        self._port = port
        self._clock = clock

    async def run(self, found: Found) -> None:
        """See `Discovery`."""
        from fairlead.kube.informer import Handler, Informer
        from fairlead.kube.kinds import ENDPOINT_SLICES

        informer = Informer(
            self._client, ENDPOINT_SLICES, self._namespace,
            label_selector=f"kubernetes.io/service-name={self._service}", clock=self._clock,
        )  # fmt: skip

        def tell(_: object) -> None:
            hosts = {address for part in informer.store for one in part.endpoints or () for address in one.addresses}
            found(sorted(f"[{h}]:{self._port}" if ":" in h else f"{h}:{self._port}" for h in hosts))

        informer.add_handler(Handler.every(tell))
        await informer.run()
