"""ConfigMap: keys that can be file names, a limit on its size, and maps that are fixed for good."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, too_long
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import config_map_key
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

SIZE_LIMIT_BYTES = 1024 * 1024
_WHOLE_OBJECT = "[]"
_FIXED = "field is immutable when `immutable` is set"


def decoded_size(encoded: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(encoded) * 3 // 4 - encoded.count("=", -2)


def check_fixed(errors: Errors, new: Object, old: Object, keys: Sequence[str]) -> None:
    """An object marked immutable keeps the mark and its data."""
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        errors.append(forbidden("immutable", _FIXED))
    for key in keys:
        if (new.get(key) or None) != (old.get(key) or None):
            errors.append(forbidden(key, _FIXED))


class ConfigMapStrategy(ObjectStrategy):
    metadata_rechecks = 1

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        size = 0
        for key, text in data.items():
            add_each(errors, f"data[{key}]", key, config_map_key(key))
            if key in binary:
                errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += len(text) if text.isascii() else len(text.encode())
        for key, encoded in binary.items():
            add_each(errors, f"binaryData[{key}]", key, config_map_key(key))
            size += decoded_size(encoded)
        if size > SIZE_LIMIT_BYTES:
            errors.append(too_long(_WHOLE_OBJECT, SIZE_LIMIT_BYTES))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        check_fixed(errors, new, old, ("data", "binaryData"))
        errors += self.validate(new, context)
        return errors
