"""DeviceClass: preset selectors and configuration that requests name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.kinds.dra_requests import CONFIGURATIONS_LIMIT
from fairlead.embedded.apiserver.kinds.dra_rules import check_configuration, check_list
from fairlead.embedded.apiserver.kinds.dra_selectors import check_selectors
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.resources import is_extended
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext


class DeviceClassStrategy(ClusterStrategy):
    """DeviceClass."""

    metadata_rechecks = 1
    rechecks_metadata_first = True

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return _check_spec(obj.get("spec") or {}, None)

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return _check_spec(new.get("spec") or {}, old.get("spec") or {})


def _check_spec(spec: Mapping[str, Any], old: Mapping[str, Any] | None) -> Sequence[FieldError]:
    errors: Errors = []
    same_selectors = old is not None and old.get("selectors") == spec.get("selectors")
    same_configurations = old is not None and old.get("config") == spec.get("config")
    check_selectors(errors, spec.get("selectors"), "spec.selectors", stored=same_selectors)

    def configuration(errors: Errors, item: Mapping[str, Any], path: str) -> None:
        check_configuration(errors, item, path, stored=same_configurations)

    check_list(errors, spec.get("config"), "spec.config", configuration, limit=CONFIGURATIONS_LIMIT)
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        errors.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))
    return errors
