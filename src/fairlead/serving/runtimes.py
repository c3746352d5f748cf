"""The ServingRuntimes there are, and the shipped ones put in place."""

from __future__ import annotations

import logging

import msgspec

from fairlead.api.serving_runtime import SERVING_RUNTIMES, ServingRuntime
from fairlead.kube.client import Client
from fairlead.kube.errors import Forbidden, NotFound
from fairlead.kube.informer import Handler, Informers
from fairlead.serving.resolve import is_outdated, runtime_objects

_LOG = logging.getLogger("fairlead.serving")


class Runtimes:
    """As structs; `version` changes whenever one of them does."""

    def __init__(self, informers: Informers) -> None:
        self.informer = informers.informer(SERVING_RUNTIMES)
        self.informer.add_handler(Handler.every(lambda _: self._changed()))
        self.version = 0
        self._all: list[ServingRuntime] | None = None

    def all(self) -> list[ServingRuntime]:
        """Those that can be read, by name."""
        if self._all is None:
            self._all = []
            for raw in sorted(self.informer.store, key=lambda r: str(r["metadata"]["name"])):
                try:
                    self._all.append(msgspec.convert(raw, ServingRuntime))
                except msgspec.ValidationError as error:
                    _LOG.warning("servingruntime %s: %s", raw["metadata"]["name"], error)
        return self._all

    def _changed(self) -> None:
        self.version += 1
        self._all = None


async def install_runtimes(client: Client) -> None:
    """Create the shipped runtimes that are missing, renew those that an older version installed and nobody has changed;
    without the right to, say so and go on."""
    for wanted in runtime_objects():
        name = wanted["metadata"]["name"]
        try:
            try:
                stored = await client.get(SERVING_RUNTIMES, name)
            except NotFound:
                stored = None
            if stored is None or is_outdated(stored, wanted):
                await client.apply(SERVING_RUNTIMES, wanted, force=True)
        except (Forbidden, NotFound) as error:
            _LOG.warning("servingruntime %s is not installed: %s", name, error)
            return
