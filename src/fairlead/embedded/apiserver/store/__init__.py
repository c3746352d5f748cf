"""The API server's store: multi-version rows in SQLite, durable before they are acknowledged, watchable from any
retained version. `Store` is the only way in; `Record` is one version of one object."""

from fairlead.embedded.apiserver.store.database import DataFolderLocked
from fairlead.embedded.apiserver.store.record import Record
from fairlead.embedded.apiserver.store.snapshot import Snapshot
from fairlead.embedded.apiserver.store.store import Compacted, FutureVersion, Store, WriteFailed
from fairlead.embedded.apiserver.store.subscription import Subscription

__all__ = [
    "Compacted",
    "DataFolderLocked",
    "FutureVersion",
    "Record",
    "Snapshot",
    "Store",
    "Subscription",
    "WriteFailed",
]
