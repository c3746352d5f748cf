"""LeaseCandidate: who would take a lease, and in which version of its program."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, check_immutable
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_NUMBER = r"(?:0|[1-9]\d*)"
_is_version = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?").fullmatch


class LeaseCandidateStrategy(ObjectStrategy):
    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        if not spec.get("leaseName"):
            errors.append(required("spec.leaseName"))
        emulated, binary = spec.get("emulationVersion", ""), spec.get("binaryVersion", "")
        if emulated:
            _check_version(errors, emulated, "spec.emulationVersion")
        if binary:
            _check_version(errors, binary, "spec.binaryVersion")
        else:
            errors.append(required("spec.binaryVersion"))
        if binary and emulated and _ordered(binary) < _ordered(emulated):
            detail = "must be greater than or equal to `emulationVersion`"
            errors.append(invalid("spec.binaryVersion", binary, detail))
        if not spec.get("strategy"):
            errors.append(required("spec.strategy"))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        after, before = ((obj.get("spec") or {}).get("leaseName", "") for obj in (new, old))
        check_immutable(errors, after, before, "spec.leaseName")
        return errors


def _check_version(errors: Errors, text: str, path: str) -> None:
    if not _is_version(text):
        errors.append(invalid(path, text, "must be a valid semantic version"))


def _ordered(text: str) -> tuple[int, ...]:
    found = _is_version(text)
    return tuple(int(part) for part in found.groups()) if found else (0, 0, 0)
