"""Where the volumes of a pod can be used or made."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.snapshot import NodeView, Shape, VolumeUse

_ALIASES: Final = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_NEWER: Final = _ALIASES | {new: old for old, new in _ALIASES.items()}
"""A label of a zone or region -> its other name."""


def refuse_volumes(shape: Shape, node: NodeView) -> str | None:
    for use in shape.volumes:
        if use.terms is not None and not any(term.matches(node) for term in use.terms):
            if use.is_late:
                return "node(s) didn't find available persistent volumes to bind"
            return "node(s) had volume node affinity conflict"
        if use.zones and not _is_in_zone(use, node):
            return "node(s) had no available volume zone"
    return None


def _is_in_zone(use: VolumeUse, node: NodeView) -> bool:
    """A node that names neither zone nor region is in a cluster that has none."""
    if not any(label in node.labels for label in _NEWER):
        return True
    for requirement in use.zones:
        value = node.labels.get(requirement.key) or node.labels.get(_NEWER[requirement.key])
        if value not in requirement.values:
            return False
    return True
