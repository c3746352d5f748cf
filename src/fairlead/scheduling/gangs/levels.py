"""Short names of topology levels: what people write in place of the node labels that make the domains."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from fairlead.scheduling.snapshot import HOST

NVLINK: Final = "accelerator.topograph.run/domain"
ALIASES: Final[Mapping[str, str]] = {
    "host": HOST,
    "nvlink": NVLINK,
    "rack": "fabric.topograph.run/tier-0",
    "block": "fabric.topograph.run/tier-1",
    "zone": "topology.kubernetes.io/zone",
    "region": "topology.kubernetes.io/region",
}
"""Alias -> node label, the nearest level first. Network tiers are labelled by Topograph, 0 being the nearest switch;
other labels are given in full, such as `nvidia.com/gpu.clique`."""


def level_label(name: str, aliases: Mapping[str, str] = ALIASES) -> str:
    """The node label of a level given as an alias or as a label. Raises ValueError, saying what could be written.

    A label without a slash is taken for a misspelt alias: a label that is meant has the prefix of its owner.
    """
    label = aliases.get(name)
    if label is not None:
        return label
    if "/" in name and " " not in name:
        return name
    near = difflib.get_close_matches(name, aliases, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"there is no topology level {name!r}: {hint}write one of {', '.join(aliases)}, "
        "or a whole node label such as topology.kubernetes.io/zone"
    )


def level_labels(names: str, aliases: Mapping[str, str] = ALIASES) -> tuple[str, ...]:
    """The node labels of levels separated by commas, each once. Raises ValueError."""
    found = (level_label(name.strip(), aliases) for name in names.split(",") if name.strip())
    return tuple(dict.fromkeys(found))


def tier_label(tier: int) -> str:
    """The label of a network tier as Volcano counts: 0 for a host, 1 for the nearest switch."""
    return HOST if tier <= 0 else f"fabric.topograph.run/tier-{tier - 1}"
