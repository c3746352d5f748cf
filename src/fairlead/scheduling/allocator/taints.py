"""Device taints: which of them keep a request away, and which a DeviceTaintRule adds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.kube.objects.devices import DeviceTaint, DeviceTaintRule, DeviceToleration

_KEEPS_AWAY = frozenset(["NoSchedule", "NoExecute"])


def tolerates(toleration: DeviceToleration, taint: DeviceTaint) -> bool:
    """Whether one toleration covers one taint. An empty effect or key covers all, an unknown operator nothing."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in ("", "Equal"):
        return toleration.value == taint.value
    return toleration.operator == "Exists"


def untolerated(taints: Sequence[DeviceTaint], tolerations: Sequence[DeviceToleration]) -> DeviceTaint | None:
    """The first taint that keeps the request away, or None. Effects other than NoSchedule and NoExecute never do."""
    for taint in taints:
        if taint.effect in _KEEPS_AWAY and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None


def taints_by_rule(rules: Iterable[DeviceTaintRule], driver: str, pool: str, device: str) -> tuple[DeviceTaint, ...]:
    """The taints that rules put on a device. Each field that a selector sets must match; no selector, no device."""
    return tuple(rule.spec.taint for rule in rules if _selects(rule, driver, pool, device))


def _selects(rule: DeviceTaintRule, driver: str, pool: str, device: str) -> bool:
    selector = rule.spec.device_selector
    if selector is None:
        return False
    wanted = ((selector.driver, driver), (selector.pool, pool), (selector.device, device))
    return all(want is None or want == value for want, value in wanted)
