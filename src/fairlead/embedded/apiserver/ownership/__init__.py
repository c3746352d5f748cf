"""Who owns which fields of an object: `metadata.managedFields` on every write, and server-side apply on top of it.

Sets of fields are FieldsV1 trees from end to end; schemas say which objects and lists merge and which are atomic.
"""

from fairlead.embedded.apiserver.ownership.apply import apply
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet
from fairlead.embedded.apiserver.ownership.managed import keep_times_if_unchanged, record_update

__all__ = ["FieldSet", "apply", "keep_times_if_unchanged", "record_update"]
