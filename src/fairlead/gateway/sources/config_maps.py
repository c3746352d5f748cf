"""The ConfigMaps that pools name for their picker configuration, each followed by itself; no others are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fairlead.gateway.endpoints import Registry
from fairlead.gateway.membership import config_text
from fairlead.kube.client import Client
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import CONFIG_MAPS
from fairlead.kube.objects.config import ConfigMap

_Name = tuple[str, str]  # namespace and name


class ConfigMaps:
    """Keeps the texts in the registry as they are in the API."""

    def __init__(self, client: Client, registry: Registry) -> None:
        self._client = client
        self._registry = registry
        self._used: dict[_Name, dict[str, int]] = {}  # ConfigMap -> key of the registry -> pools that name it
        self._of_pool: dict[str, str] = {}  # pool -> key of the registry
        self._informers: dict[_Name, tuple[Informer[ConfigMap], asyncio.Task[None]]] = {}

    def use(self, pool: str, key: str) -> None:
        """The pool names the configuration `namespace/name[/key]`; empty = none any more."""
        before = self._of_pool.get(pool, "")
        if before == key:
            return
        if key:
            self._of_pool[pool] = key
            self._add(key)
        else:
            del self._of_pool[pool]
        if before:
            self._remove(before)

    async def close(self) -> None:
        """Stop following."""
        tasks = [task for _, task in self._informers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, key: str) -> None:
        name = _name_of(key)
        keys = self._used.setdefault(name, {})
        keys[key] = keys.get(key, 0) + 1
        if name in self._informers:
            self._publish(name, (key,))
            return
        selector = f"metadata.name={name[1]}"
        informer = Informer(self._client, CONFIG_MAPS, name[0], field_selector=selector)
        informer.add_handler(Handler.every(lambda _: self._publish(name, tuple(self._used.get(name, ())))))
        self._informers[name] = informer, asyncio.create_task(informer.run(), name=f"informer {key}")

    def _remove(self, key: str) -> None:
        name = _name_of(key)
        keys = self._used[name]
        keys[key] -= 1
        if keys[key]:
            return
        del keys[key]
        self._registry.set_config(key, None)
        if not keys:
            del self._used[name]
            self._informers.pop(name)[1].cancel()

    def _publish(self, name: _Name, keys: Iterable[str]) -> None:
        found = self._informers[name][0].store.get(name[1], name[0]) if name in self._informers else None
        for key in keys:
            inner = key.split("/", 2)[2] if key.count("/") > 1 else ""
            self._registry.set_config(key, None if found is None else config_text(found.data, inner))


def _name_of(key: str) -> _Name:
    namespace, name, *_ = key.split("/", 2)
    return namespace, name
