"""Looking at other stored objects while a write is decided: one by its name, or all of a small resource."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.codec import read
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.store import Store


class RelatedObjects:
    """Reads over one store."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        # (group, resource) -> version of the resource's latest change, and all its objects then
        self._all: dict[tuple[str, str], tuple[int, list[Object]]] = {}

    def find(self, group: str, resource: str, namespace: str, name: str) -> Object | None:
        """The newest state of any object, acknowledged or not; None where there is none."""
        key = f"{namespace}/{name}" if namespace else name
        type_ = self._catalog.find_resource(group, resource)
        if type_ is None:
            return None
        record = self._store.newest(type_.storage_prefix, key)
        return None if record is None else read(type_, self._store, record)

    def all(self, group: str, resource: str) -> Sequence[Object]:
        """All acknowledged objects of a resource, not to be changed; remembered until one of them changes."""
        type_ = self._catalog.find_resource(group, resource)
        if type_ is None:
            return ()
        index = self._store.index(type_.storage_prefix)
        version, found = self._all.get((group, resource), (0, []))
        if index.version != version:
            found = [read(type_, self._store, record) for record in index.latest("")]
            self._all[group, resource] = index.version, found
        return found
