"""The group resource.k8s.io: dynamic resource allocation, stored as v1."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fairlead.embedded.apiserver.kinds import dra_versions
from fairlead.embedded.apiserver.kinds.converted import ConvertedStrategy
from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.dra_claims import ClaimStrategy, ClaimTemplateStrategy
from fairlead.embedded.apiserver.kinds.dra_classes import DeviceClassStrategy
from fairlead.embedded.apiserver.kinds.dra_slices import SliceStrategy
from fairlead.embedded.apiserver.kinds.dra_taint_rules import DeviceTaintRuleStrategy
from fairlead.embedded.apiserver.registry import Object, ResourceType, Strategy

_GROUP = "resource.k8s.io"
_STORED = "v1"

_OPTIONS: dict[str, dict[str, Any]] = {
    "DeviceClass": {"namespaced": False, "has_generation": True},
    "ResourceClaim": {"has_status": True, "reset_fields": STATUS},
    "ResourceClaimTemplate": {},
    "ResourceSlice": {
        "namespaced": False,
        "has_generation": True,
        "selectable_fields": {"spec.nodeName": at("spec", "nodeName"), "spec.driver": at("spec", "driver")},
    },
}
_STRATEGIES: dict[str, Strategy] = {
    "DeviceClass": DeviceClassStrategy(),
    "ResourceClaim": ClaimStrategy(),
    "ResourceClaimTemplate": ClaimTemplateStrategy(),
    "ResourceSlice": SliceStrategy(),
}
_RESOURCES = {
    "DeviceClass": "deviceclasses",
    "ResourceClaim": "resourceclaims",
    "ResourceClaimTemplate": "resourceclaimtemplates",
    "ResourceSlice": "resourceslices",
}
# Kind -> conversion of v1beta1 to the stored form and back; kinds that are the same in both are not here.
_CONVERSIONS: dict[str, tuple[Callable[[Object], Object], Callable[[Object], Object]]] = {
    "ResourceClaim": (dra_versions.claim_to_v1, dra_versions.claim_from_v1),
    "ResourceClaimTemplate": (dra_versions.template_to_v1, dra_versions.template_from_v1),
    "ResourceSlice": (dra_versions.slice_to_v1, dra_versions.slice_from_v1),
}
# Version -> when it was deprecated and when it goes.
_DEPRECATED = {"v1beta1": ("v1.35", "v1.38"), "v1beta2": ("v1.36", "v1.39")}


def types() -> list[ResourceType]:
    """The kinds of resource.k8s.io in their served versions."""
    rows = [_row(kind, version) for version in (_STORED, *reversed(_DEPRECATED)) for kind in _RESOURCES]
    taint_rules = resource_type(
        f"{_GROUP}/v1beta2",
        "devicetaintrules",
        "DeviceTaintRule",
        namespaced=False,
        strategy=DeviceTaintRuleStrategy(),
        has_status=True,
        has_generation=True,
        reset_fields=STATUS,
        returns_deleted=True,
    )
    # The alpha version has the same form.
    deprecation = f"{_GROUP}/v1alpha3 DeviceTaintRule is deprecated in v1.36+, unavailable in v1.39+"
    alpha = dataclasses.replace(taint_rules, version="v1alpha3", storage_version="v1beta2", deprecation=deprecation)
    return [*rows, taint_rules, alpha]


def _row(kind: str, version: str) -> ResourceType:
    options, strategy = dict(_OPTIONS[kind]), _STRATEGIES[kind]
    if version in _DEPRECATED:
        since, gone = _DEPRECATED[version]
        options["deprecation"] = f"{_GROUP}/{version} {kind} is deprecated in {since}+, unavailable in {gone}+"
    if version == "v1beta1" and kind in _CONVERSIONS:
        to_storage, from_storage = _CONVERSIONS[kind]
        strategy = ConvertedStrategy(strategy, to_storage, from_storage)
        options.update(to_storage=to_storage, from_storage=from_storage)
    return resource_type(
        f"{_GROUP}/{version}",
        _RESOURCES[kind],
        kind,
        strategy=strategy,
        storage_version=_STORED,
        returns_deleted=True,
        **options,
    )
