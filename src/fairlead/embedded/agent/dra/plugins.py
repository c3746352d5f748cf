"""The drivers that are registered on a node, in one or more instances each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.embedded.agent.dra.services import Chosen, RegistrationError

if TYPE_CHECKING:
    from fairlead.embedded.agent.dra.connection import Connection


@dataclass(frozen=True, slots=True)
class Plugin:
    """One instance of a driver."""

    chosen: Chosen
    connection: Connection

    @property
    def driver(self) -> str:
        return self.chosen.driver


class Plugins:
    """`changed` is told the driver's name whenever one of its instances comes or goes."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._by_driver: dict[str, list[Plugin]] = {}  # in the order of registration

    def add(self, plugin: Plugin) -> None:
        """Raises RegistrationError where another instance already has the endpoint."""
        known = self._by_driver.setdefault(plugin.driver, [])
        if any(other.chosen.endpoint == plugin.chosen.endpoint for other in known):
            raise RegistrationError(
                f"endpoint {plugin.chosen.endpoint} is already registered for driver {plugin.driver}"
            )
        known.append(plugin)
        self._changed(plugin.driver)

    def remove(self, plugin: Plugin) -> None:
        known = self._by_driver.get(plugin.driver, [])
        if plugin in known:
            known.remove(plugin)
            if not known:
                del self._by_driver[plugin.driver]
            self._changed(plugin.driver)

    def find(self, driver: str) -> Plugin | None:
        """The newest instance that is connected, else the newest: during a rolling update two may be there."""
        known = self._by_driver.get(driver)
        if not known:
            return None
        return next((plugin for plugin in reversed(known) if plugin.connection.is_connected), known[-1])

    @property
    def drivers(self) -> list[str]:
        return sorted(self._by_driver)
