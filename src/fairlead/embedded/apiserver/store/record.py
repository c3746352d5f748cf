"""One version of one object.

Records of one name form a chain: `previous` leads to the version before, as long as that one is retained. The bytes of
recent records stay in memory; those of older ones are read from the database by version.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Record:
    """A version of the object `name` under `resource` (the store's key is the two joined).

    `value` is the object's JSON without `kind` and `apiVersion`, `metadata` first, or None when it left the memory.
    A deletion is a record too: its value is the object's last state, with the version of the deletion. `created` tells
    whether this version brought the object into being (`previous` cannot: it may be compacted).
    """

    resource: str
    name: str
    version: int
    deleted: bool
    created: bool
    value: bytes | None
    previous: Record | None
