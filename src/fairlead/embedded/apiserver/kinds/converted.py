"""A version of a kind whose form differs from the stored one: its rules are those of the stored form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.registry import Object, RequestContext, Strategy

Conversion = Callable[[Object], Object]


class ConvertedStrategy(Strategy):
    """Runs another strategy on the stored form of objects and gives back what it changed.

    The conversions return new objects, which may share parts with what they were given.
    """

    def __init__(self, inner: Strategy, to_storage: Conversion, from_storage: Conversion) -> None:
        self._inner = inner
        self._to = to_storage
        self._from = from_storage

    def _change(self, obj: Object, change: Callable[[Object], None]) -> None:
        stored = self._to(copy.deepcopy(obj))
        change(stored)
        # Kind and version stay; the metadata stays the same object, because callers hold on to it.
        kept: Object = {key: obj[key] for key in ("kind", "apiVersion", "metadata") if key in obj}
        converted = self._from(stored)
        if "metadata" in kept:
            changed = converted["metadata"]
            kept["metadata"].clear()
            kept["metadata"].update(changed)
        obj.clear()
        obj.update({**converted, **kept})

    def default(self, obj: Object) -> None:
        self._change(obj, self._inner.default)

    def default_times(self, obj: Object, context: RequestContext) -> None:
        self._change(obj, lambda stored: self._inner.default_times(stored, context))

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        before = None if old is None else self._to(old)
        self._change(obj, lambda stored: self._inner.admit(stored, before, context))

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        self._change(obj, lambda stored: self._inner.prepare_create(stored, context))

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        before = self._to(old)
        self._change(new, lambda stored: self._inner.prepare_update(stored, before, context))

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        before = self._to(old)
        self._change(new, lambda stored: self._inner.prepare_status_update(stored, before, context))

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return self._inner.validate_create(self._to(obj), context)

    def validate_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return self._inner.validate_update(self._to(new), self._to(old), context)

    def validate_status_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return self._inner.validate_status_update(self._to(new), self._to(old), context)

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        return self._inner.warnings(self._to(obj), None if old is None else self._to(old))

    def deletion_grace_s(self, obj: Object, requested_s: int | None) -> int | None:
        return self._inner.deletion_grace_s(self._to(obj), requested_s)

    def is_deletable(self, obj: Object) -> bool:
        return self._inner.is_deletable(self._to(obj))

    def generation_changed(self, new: Object, old: Object) -> bool:
        return self._inner.generation_changed(self._to(new), self._to(old))
