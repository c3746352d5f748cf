"""`flowControl` and what it refers to, as settings of flow control and of saturation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.gateway.config import parameters as p
from fairlead.gateway.config.document import BandSpec, FlowControlSpec
from fairlead.gateway.config.durations import parse_duration_s
from fairlead.gateway.config.known import Instance, Kind
from fairlead.gateway.flow import Fairness, FlowSettings, Holdback, HoldbackDomain, Limits, Order
from fairlead.kube.quantity import parse_quantity

FAIRNESS = {
    "global-strict-fairness-policy": Fairness.GLOBAL_STRICT,
    "round-robin-fairness-policy": Fairness.ROUND_ROBIN,
    "weighted-tokens-fairness-policy": Fairness.WEIGHTED_TOKENS,
    "program-aware-fairness": Fairness.WEIGHTED_TOKENS,
}
ORDERING = {
    "fcfs-ordering-policy": Order.FCFS,
    "edf-ordering-policy": Order.EDF,
    "edf-attainable-ordering-policy": Order.EDF_ATTAINABLE,
    "slo-deadline-ordering-policy": Order.SLO_DEADLINE,
}
_ALWAYS_THERE = {name: kind for kind, names in ((Kind.FAIRNESS, FAIRNESS), (Kind.ORDERING, ORDERING)) for name in names}
_DETECTORS: Mapping[str, p.UtilizationParameters | p.HeadroomParameters] = {
    "utilization-detector": p.UtilizationParameters(),
    "headroom-detector": p.HeadroomParameters(),
}
"""Detectors that need not be among the plugins."""

_DEFAULT_TTL = "60s"


def flow_settings(spec: FlowControlSpec, instances: Mapping[str, Instance]) -> FlowSettings:
    """The settings. Raises ValueError that names the field."""
    default = spec.default_priority_band or BandSpec()
    fairness = _policy(default.fairness_policy_ref, Kind.FAIRNESS, instances, "defaultPriorityBand.fairnessPolicyRef")
    order = _policy(default.ordering_policy_ref, Kind.ORDERING, instances, "defaultPriorityBand.orderingPolicyRef")
    band_fairness, band_order = _policies_of_bands(spec, instances)
    negative = spec.default_negative_priority_band
    ttl_s = _ttl_s(spec.default_request_ttl, "defaultRequestTTL", _DEFAULT_TTL)
    return FlowSettings(
        fairness=FAIRNESS.get(fairness, Fairness.GLOBAL_STRICT),
        order=ORDERING.get(order, Order.FCFS),
        ttl_s=ttl_s,
        no_endpoints_ttl_s=_ttl_s(spec.no_endpoint_request_ttl, "noEndpointRequestTTL", f"{ttl_s}s"),
        band_limits=_limits(default.max_requests, default.max_bytes, Limits(), "defaultPriorityBand"),
        bands={
            band.priority: _limits(band.max_requests, band.max_bytes, Limits(), f"priorityBands[{band.priority}]")
            for band in spec.priority_bands
        },
        whole_limits=_limits(spec.max_requests, spec.max_bytes, FlowSettings().whole_limits, "flowControl"),
        holdback=_holdback(spec.usage_limit_policy_plugin_ref, instances),
        sheddable_limits=(
            _limits(negative.max_requests, negative.max_bytes, Limits(), "defaultNegativePriorityBand")
            if negative is not None
            else None
        ),
        band_fairness=band_fairness,
        band_order=band_order,
    )


def _policies_of_bands(
    spec: FlowControlSpec, instances: Mapping[str, Instance]
) -> tuple[dict[int, Fairness], dict[int, Order]]:
    """Fairness and order of the priorities that have their own."""
    fairness: dict[int, Fairness] = {}
    order: dict[int, Order] = {}
    for band in spec.priority_bands:
        where = f"priorityBands[priority {band.priority}]"
        if ref := _policy(band.fairness_policy_ref, Kind.FAIRNESS, instances, f"{where}.fairnessPolicyRef"):
            fairness[band.priority] = FAIRNESS[ref]
        if ref := _policy(band.ordering_policy_ref, Kind.ORDERING, instances, f"{where}.orderingPolicyRef"):
            order[band.priority] = ORDERING[ref]
    return fairness, order


def detector_parameters(
    ref: str, instances: Mapping[str, Instance]
) -> p.UtilizationParameters | p.ConcurrencyParameters | p.HeadroomParameters:
    """Parameters of the saturation detector of this name."""
    instance = instances.get(ref)
    if instance is None:
        if ref in _DETECTORS:
            return _DETECTORS[ref]
        raise ValueError(
            f"saturationDetector.pluginRef {ref!r} names no plugin of the configuration: add it to plugins"
        )
    _expect(instance, Kind.DETECTOR, "saturationDetector.pluginRef")
    parameters: Any = instance.parameters
    assert isinstance(parameters, p.UtilizationParameters | p.ConcurrencyParameters | p.HeadroomParameters)
    return parameters


def _policy(ref: str, kind: Kind, instances: Mapping[str, Instance], where: str) -> str:
    """The type of the policy of this name; empty for an empty one."""
    if not ref:
        return ""
    instance = instances.get(ref)
    if instance is not None:
        _expect(instance, kind, where)
        return instance.type
    if _ALWAYS_THERE.get(ref) == kind:
        return ref
    raise ValueError(f"flowControl.{where} {ref!r} names no plugin of the configuration: add it to plugins")


def _expect(instance: Instance, kind: Kind, where: str) -> None:
    if instance.kind != kind:
        raise ValueError(f"{where} {instance.name!r} is of type {instance.type} ({instance.kind}): want a {kind}")


def _ttl_s(text: str | None, name: str, default: str) -> float:
    try:
        ttl_s = parse_duration_s(default if text is None else text)
    except ValueError as error:
        raise ValueError(f"flowControl.{name}: {error}") from error
    if ttl_s <= 0.0:
        raise ValueError(f"flowControl.{name} is 0: requests would wait without end; give a duration above 0")
    return ttl_s


def _limits(requests: str | int | float | None, size: str | int | float | None, default: Limits, where: str) -> Limits:
    """0 and nothing stand for the default: queues are always bounded."""

    def count(given: str | int | float | None, name: str, otherwise: int) -> int:
        if given is None:
            return otherwise
        try:
            value = parse_quantity(given).value
        except ValueError as error:
            raise ValueError(f"{where}.{name} is {given!r}: {error}") from error
        if value < 0:
            raise ValueError(f"{where}.{name} is {given!r}: must be 0 or more")
        return value or otherwise

    return Limits(count(requests, "maxRequests", default.requests), count(size, "maxBytes", default.size_bytes))


def _holdback(ref: str, instances: Mapping[str, Instance]) -> Holdback | None:
    if not ref or ref == "static-usage-limit-policy":
        return None
    instance = instances.get(ref)
    if instance is None:
        raise ValueError(
            f"flowControl.usageLimitPolicyPluginRef {ref!r} names no plugin of the configuration: add it to plugins"
        )
    _expect(instance, Kind.USAGE_LIMIT, "flowControl.usageLimitPolicyPluginRef")
    parameters = instance.parameters
    if not isinstance(parameters, p.HoldbackParameters):
        return None
    return Holdback(parameters.min_ceiling, parameters.max_ceiling, HoldbackDomain(parameters.domain))
