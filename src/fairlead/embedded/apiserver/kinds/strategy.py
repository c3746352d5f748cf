"""The base of every built-in kind's strategy: metadata rules, and the split between spec and status."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds.metadata import (
    validate_finalizer_kinds,
    validate_object_meta,
    validate_object_meta_update,
)
from fairlead.embedded.apiserver.kinds.names import Rule, dns_subdomain
from fairlead.embedded.apiserver.registry import Object, RequestContext, Strategy


class ObjectStrategy(Strategy):
    """Metadata validation for a kind whose names follow `name_rule`.

    A kind overrides `validate` (rules of create and update alike) and `validate_change` (what an update may not do).
    """

    namespaced: bool = True
    metadata_rechecks: int = 0
    """How often the API checks the metadata of an update by the rules of a new object as well: each time it finds the
    same errors again."""
    rechecks_metadata_first: bool = False
    """Whether those errors come before the ones of the change."""
    checks_metadata_change: bool = True
    name_rule: Rule = staticmethod(dns_subdomain)

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        """Errors of the object by itself, metadata aside."""
        return ()

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        """Errors of an update, metadata aside; by default the new object's own."""
        return self.validate(new, context)

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        """Errors of a status update, metadata aside."""
        return ()

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return [*self._validate_metadata(obj), *self.validate(obj, context)]

    def _validate_metadata(self, obj: Object) -> list[FieldError]:
        errors = validate_object_meta(obj, namespaced=self.namespaced, name_rule=self.name_rule)
        errors += validate_finalizer_kinds(obj)
        return errors

    def validate_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        change: list[FieldError] = []
        if self.checks_metadata_change:
            change = [*validate_object_meta_update(new, old), *validate_finalizer_kinds(new)]
        again = self._validate_metadata(new) * self.metadata_rechecks if self.metadata_rechecks else []
        errors = [*again, *change] if self.rechecks_metadata_first else [*change, *again]
        errors += self.validate_change(new, old, context)
        return errors

    def validate_status_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return [*validate_object_meta_update(new, old), *self.validate_status(new, old, context)]


class StatusStrategy(ObjectStrategy):
    """A kind with a `status` that only the status subresource writes."""

    def initial_status(self, obj: Object) -> Object | None:
        """The status of a new object; None for none at all."""
        return {}

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        status = self.initial_status(obj)
        if status is None:
            obj.pop("status", None)
        else:
            obj["status"] = status

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)


class ClusterStrategy(ObjectStrategy):
    """A cluster-scoped kind without rules of its own."""

    namespaced = False
