"""Namespace: its phases, its own finalizers, and a deletion that waits until everything inside is gone."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.metadata import STANDARD_FINALIZERS
from fairlead.embedded.apiserver.kinds.names import dns_label, qualified_name
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.errors import Conflict, Forbidden

NAME_LABEL = "kubernetes.io/metadata.name"
_FINALIZER = "kubernetes"
_UNDELETABLE = ("default", "kube-system", "kube-public")


class NamespaceStrategy(StatusStrategy):
    namespaced = False
    name_rule = staticmethod(dns_label)
    metadata_rechecks = 1

    def default(self, obj: Object) -> None:
        _label(obj)
        obj.setdefault("spec", {})
        status = obj.setdefault("status", {})
        if not status.get("phase"):
            status["phase"] = "Active"

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        obj["status"] = {"phase": "Active"}
        finalizers = obj["spec"].setdefault("finalizers", [])
        if _FINALIZER not in finalizers:
            finalizers.append(_FINALIZER)
        _label(obj)

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_update(new, old, context)
        new["spec"] = old["spec"]

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        for name in obj["spec"].get("finalizers") or ():
            _validate_finalizer(errors, name, "spec.finalizers")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        if new["spec"] != old["spec"]:
            for index, name in enumerate(new["spec"].get("finalizers") or ()):
                _validate_finalizer(errors, name, f"spec.finalizers[{index}]")
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        phase = (new.get("status") or {}).get("phase", "")
        deleted = bool(new["metadata"].get("deletionTimestamp"))
        allowed, condition = ("Terminating", "is not empty") if deleted else ("Active", "is empty")
        if phase == allowed:
            return ()
        return [invalid("status.Phase", phase, f"may only be '{allowed}' if `deletionTimestamp` {condition}")]

    def check_deletion(self, obj: Object, uid: str | None, version: str | None) -> None:
        metadata = obj["metadata"]
        name = metadata["name"]
        if name in _UNDELETABLE:
            reason = "this namespace may not be deleted"
            raise Forbidden(f'namespaces "{name}" is forbidden: {reason}', name=name, kind="namespaces")
        for what, wanted, actual in (
            ("UID", uid, metadata.get("uid")),
            ("ResourceVersion", version, metadata.get("resourceVersion")),
        ):
            if wanted is not None and wanted != actual:
                reason = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
                message = f'Operation cannot be fulfilled on namespaces "{name}": {reason}'
                raise Conflict(message, name=name, kind="namespaces")

    def begin_deletion(self, obj: Object, context: RequestContext) -> bool:
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp"):
            metadata["deletionTimestamp"] = context.now
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
            return True
        return bool(obj["spec"].get("finalizers"))

    def is_deletable(self, obj: Object) -> bool:
        return not (obj.get("spec") or {}).get("finalizers")


def _label(obj: Object) -> None:
    metadata = obj.setdefault("metadata", {})
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}


def _validate_finalizer(errors: Errors, name: str, path: str) -> None:
    add_each(errors, path, name, qualified_name(name))
    if "/" not in name and name not in STANDARD_FINALIZERS:
        errors.append(invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
