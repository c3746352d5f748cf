"""A claim's opaque parameters as a vendor's typed struct: the class's first, then the claim's, key by key.

Every error names the claim, the request, the field and what would be accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fairlead.devices.errors import ConfigError
from fairlead.devices.vendor import ClaimReference, Grant

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


def read_parameters(claim: ClaimReference, grant: Grant, kind: type[Parameters]) -> Parameters:
    """The parameters that apply to one granted device; `kind`'s defaults where there are none.

    Objects are merged, anything else of a later layer replaces that of an earlier one. `kind` should forbid unknown
    fields. `apiVersion` and `kind` may be given, as for any Kubernetes object, and are not looked at. Raises
    ConfigError.
    """
    merged: dict[str, Any] = {}
    for layer in grant.config:
        merged = _merge(merged, layer)
    for field in ("apiVersion", "kind"):
        merged.pop(field, None)
    try:
        return msgspec.convert(merged, kind)
    except msgspec.ValidationError as error:
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise ConfigError(
            f'claim {claim}: request "{grant.request}": parameters of the configuration: {error}; '
            f"the fields there are: {fields}"
        ) from error


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
