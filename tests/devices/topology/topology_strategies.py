"""Random topologies for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from fairlead.devices.topology.model import Place, Switch, Topology


@st.composite
def trees(draw: st.DrawFn, prefix: str = "", with_zones: bool = True) -> Topology:
    """A tree of one to four tiers, every switch populated, domains inside or across leaves."""
    depth = draw(st.integers(1, 4))
    switches: list[Switch] = []
    level = [f"{prefix}t{depth - 1}-{index}" for index in range(draw(st.integers(1, 2)))]
    switches += [Switch(name) for name in level]
    for tier in range(depth - 2, -1, -1):
        below: list[str] = []
        for parent in level:
            for _ in range(draw(st.integers(1, 3))):
                name = f"{prefix}t{tier}-{len(below)}"
                below.append(name)
                switches.append(Switch(name, parent))
        level = below
    places: list[Place] = []
    for leaf in level:
        for _ in range(draw(st.integers(1, 4))):
            domain = draw(st.sampled_from(["", "nvl-1", "nvl-2"]))
            sub = draw(st.sampled_from(["", "rack-1"])) if domain else ""
            zone = draw(st.sampled_from(["", "zone-a", "zone-b"])) if with_zones else ""
            region = "region-1" if zone else ""
            places.append(
                Place(f"{prefix}n{len(places)}", (leaf,), domain, f"{domain}.{sub}" if sub else "", zone, region)
            )
    return Topology.of(switches, places)
