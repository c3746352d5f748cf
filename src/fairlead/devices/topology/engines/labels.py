"""The `k8s` engine: which labels each node should carry, and what to patch where it carries others. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fairlead.devices.topology.errors import Unsupported
from fairlead.devices.topology.label_values import (
    DOMAIN,
    FABRIC_TIER,
    REGION,
    SUB_DOMAIN,
    ZONE,
    is_label_key,
    label_value,
    tier_key,
)
from fairlead.devices.topology.model import Topology

_TIER = re.compile(re.escape(FABRIC_TIER) + r"\d+")


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """`fabric` picks the fabric whose switches are the tiers (default: the one with the most nodes). `fabric_labels`
    are keys closest first, further tiers left out; empty for `fabric.topograph.run/tier-N`. `domain_source` is a
    label that somebody else keeps and that is believed: nodes that carry it get no domain labels. `zones`: whether
    zone and region are written too (a cloud's own controller usually does)."""

    fabric: str | None = None
    fabric_labels: tuple[str, ...] = ()
    domain_label: str = DOMAIN
    domain_source: str = ""
    zones: bool = True

    def check(self) -> None:
        """Raises Unsupported for keys that are no label keys, or that mean two things."""
        if self.domain_source and self.domain_label != DOMAIN:
            raise Unsupported("acceleratorLabel and acceleratorDomainSourceLabel exclude each other; give one of them")
        if self.domain_source and not is_label_key(self.domain_source):
            raise Unsupported(f'acceleratorDomainSourceLabel: "{self.domain_source}" is not a label key')
        seen: set[str] = set()
        for key in (*self.fabric_labels, self.domain_label, SUB_DOMAIN):
            if not is_label_key(key):
                raise Unsupported(
                    f'fabricLabels, acceleratorLabel: "{key}" is not a label key such as example.com/rack'
                )
            if key in seen:
                raise Unsupported(f'fabricLabels, acceleratorLabel: "{key}" is there twice; a label has one meaning')
            seen.add(key)

    def tier(self, tier: int) -> str:
        """The key of a tier, "" where the tier is left out."""
        if not self.fabric_labels:
            return tier_key(tier)
        return self.fabric_labels[tier] if tier < len(self.fabric_labels) else ""


DEFAULTS = LabelSettings()


def compute_labels(topology: Topology, settings: LabelSettings = DEFAULTS) -> dict[str, dict[str, str]]:
    """Node name -> labels. Raises Unsupported for settings that cannot be."""
    settings.check()
    values: dict[str, str] = {}

    def value(text: str) -> str:
        found = values.get(text)
        if found is None:
            found = values[text] = label_value(text)
        return found

    fabric = settings.fabric if settings.fabric is not None else (topology.fabrics[0] if topology.fabrics else "")
    labels: dict[str, dict[str, str]] = {}
    for place in topology.places.values():
        wanted: dict[str, str] = {}
        for tier, switch in enumerate(topology.path(place.node, fabric)):
            if key := settings.tier(tier):
                wanted[key] = value(switch)
        if place.domain:
            wanted[settings.domain_label] = value(place.domain)
        if place.sub_domain:
            wanted[SUB_DOMAIN] = value(place.sub_domain)
        if settings.zones:
            wanted |= {key: value(text) for key, text in ((ZONE, place.zone), (REGION, place.region)) if text}
        labels[place.node] = wanted
    return labels


def compute_patch(
    current: Mapping[str, str], wanted: Mapping[str, str], owned: Collection[str], settings: LabelSettings = DEFAULTS
) -> dict[str, str | None]:
    """Label changes for one node as a merge patch, empty where nothing differs. `owned` are keys that we set before:
    of those, and of the tiers and domains that nobody else may keep, what is not wanted any more goes (None). A zone
    or region that somebody else set stays as it is."""
    wanted = dict(wanted)
    if settings.domain_source and current.get(settings.domain_source):
        wanted.pop(settings.domain_label, None)
        wanted.pop(SUB_DOMAIN, None)
    for key in (ZONE, REGION):
        if key in current and key not in owned:
            wanted.pop(key, None)
    change: dict[str, str | None] = {key: value for key, value in wanted.items() if current.get(key) != value}
    for key in current:
        if key not in wanted and (key in owned or _is_ours(key, settings)):
            change[key] = None
    return dict(sorted(change.items()))


def _is_ours(key: str, settings: LabelSettings) -> bool:
    return key in (settings.domain_label, SUB_DOMAIN) or (
        key in settings.fabric_labels or (not settings.fabric_labels and _TIER.fullmatch(key) is not None)
    )
