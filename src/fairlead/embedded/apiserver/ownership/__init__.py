"""Who owns which fields of an object: `metadata.managedFields` on every write, and server-side apply on top of it.

Sets of fields are FieldsV1 trees from end to end; schemas say which objects and lists merge and which are atomic.
"""

from fairlead.embedded.apiserver.ownership.apply import apply
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet
from fairlead.embedded.apiserver.ownership.managed import keep_times_if_unchanged, record_update
from fairlead.embedded.apiserver.ownership.scale import SCALE_VERSION, entries_for_scale, entries_from_scale

__all__ = [
    "SCALE_VERSION",
    "FieldSet",
    "apply",
    "entries_for_scale",
    "entries_from_scale",
    "keep_times_if_unchanged",
    "record_update",
]
