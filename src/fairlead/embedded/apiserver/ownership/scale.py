"""Ownership across the `scale` subresource: who owns the replicas of an object owns those of its Scale.

An update of a Scale is recorded on the Scale, whose entries come from the object's (`entries_for_scale`) and go back
into them afterwards (`entries_from_scale`). Source of protocol: Kubernetes' ScaleHandler, including that entries which
come back from a Scale carry no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.ownership.entries import Managers, Owned, decode_entries, encode_entries
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet

SCALE_VERSION = "autoscaling/v1"
_REPLICAS = FieldSet.of_fields([("spec", "replicas")])


def entries_for_scale(entries: Sequence[Any], replicas_path: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of a Scale: those of the object that own its replicas (`("spec", "replicas")`), as of the Scale's.

    Raises ValueError for malformed entries.
    """
    replicas = FieldSet.of_fields([replicas_path])
    return encode_entries(
        {
            who: Owned(_REPLICAS, SCALE_VERSION, owned.time)
            for who, owned in decode_entries(entries).items()
            if owned.fields.intersection(replicas)
        }
    )


def entries_from_scale(
    entries: Sequence[Any], scale_entries: Sequence[Any], replicas_path: Sequence[str], api_version: str
) -> list[dict[str, Any]]:
    """The object's entries after its Scale was updated, at the object's `api_version`. Raises ValueError."""
    replicas = FieldSet.of_fields([replicas_path])
    from_scale = decode_entries(scale_entries)
    managers: Managers = {}
    for who, owned in decode_entries(entries).items():
        if who in from_scale:
            del from_scale[who]
            managers[who] = owned
        elif fields := owned.fields.difference(replicas):
            managers[who] = owned.holding(fields)
    for who, owned in from_scale.items():
        if owned.fields.intersection(_REPLICAS):
            managers[who] = Owned(replicas, api_version, None)
    return encode_entries(managers)
