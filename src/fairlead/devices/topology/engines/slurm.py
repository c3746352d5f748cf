"""The `slurm` engine: a topology as Slurm's topology.conf, plugins `topology/tree` and `topology/block`. Pure.

Format: topology.conf(5) of Slurm. The tree names each switch's children or nodes. Blocks are accelerator domains
(their sub-domains where they have some); `BlockSizes` begins with the smallest block's nodes and doubles while that
many blocks exist, as Topograph does, unless sizes are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.devices.topology.engines.matching import expand_matches
from fairlead.devices.topology.errors import Unsupported
from fairlead.devices.topology.hostlist import compact
from fairlead.devices.topology.model import Topology

TREE = "topology/tree"
BLOCK = "topology/block"
_BAD_NAME = re.compile(r"[\s,=#\[\]]+")


@dataclass(frozen=True, slots=True)
class BlockName:
    """Names for blocks from their nodes' names: a regular expression found in every node name of a block, and a
    template for its groups (`rack${1}`), which must come out the same for all of them."""

    expression: str
    template: str


def tree_conf(topology: Topology, fabric: str | None = None) -> str:
    """`SwitchName=… Switches=…` and `SwitchName=… Nodes=…`, from the tops down. A switch that has a name beside its
    id is called by the name, and the id stands in a comment."""
    names = _switch_names(topology)
    wanted = fabric if fabric is not None else (topology.fabrics[0] if topology.fabrics else "")
    lines: list[str] = []
    queue = [top for top in topology.children.get("", ()) if topology.switches[top].fabric == wanted]
    populated = {switch for leaf in topology.attached for switch in topology.path_from(leaf)}
    while queue:
        level: list[str] = []
        for identifier in queue:
            below = [child for child in topology.children.get(identifier, ()) if child in populated]
            nodes = topology.attached.get(identifier, ())
            comment = [f"# {names[identifier]}={identifier}"] if names[identifier] != identifier else []
            if below:
                lines += [
                    *comment,
                    f"SwitchName={names[identifier]} Switches={compact(names[child] for child in below)}",
                ]
            if nodes:
                lines += [*comment, f"SwitchName={names[identifier]} Nodes={compact(nodes)}"]
            level += below
        queue = level
    return "".join(f"{line}\n" for line in lines)


def _switch_names(topology: Topology) -> dict[str, str]:
    """Id -> a name that Slurm takes and that no other switch has."""
    taken: set[str] = set()
    names: dict[str, str] = {}
    for switch in topology.switches.values():
        name = _BAD_NAME.sub("-", switch.name) or _BAD_NAME.sub("-", switch.id)
        if name in taken:
            name = _BAD_NAME.sub("-", switch.id)
        while name in taken:
            name += "-x"
        taken.add(name)
        names[switch.id] = name
    return names


def block_conf(topology: Topology, sizes: Sequence[int] = (), naming: BlockName | None = None) -> str:
    """`BlockName=… Nodes=…` for each accelerator domain or sub-domain, and `BlockSizes`. Raises Unsupported where
    there is no domain, or the sizes or names cannot be."""
    blocks = _blocks(topology)
    if not blocks:
        raise Unsupported("topology/block needs accelerator domains, and the topology has none; use topology/tree", 502)
    lines: list[str] = []
    used: set[str] = set()
    numbered = [f"block{number:03d}" for number in range(1, len(blocks) + 1)]
    names = _block_names(naming, blocks) if naming is not None else numbered
    for name, (domain, nodes) in zip(names, blocks, strict=True):
        if name in used:
            raise Unsupported(f'blockName: two blocks come out as "{name}"; let the format tell them apart')
        used.add(name)
        lines += [f"# {name}={domain}", f"BlockName={name} Nodes={compact(nodes)}"]
    smallest = min(len(nodes) for _, nodes in blocks)
    chosen = list(sizes) or [smallest << power for power in range(len(blocks).bit_length())]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in chosen) or chosen != sorted(
        set(chosen)
    ):
        raise Unsupported(f"blockSizes: {chosen} must be whole numbers from 1 on that grow")
    lines.append(f"BlockSizes={','.join(map(str, chosen))}")
    return "".join(f"{line}\n" for line in lines)


def _blocks(topology: Topology) -> list[tuple[str, list[str]]]:
    """(domain or sub-domain, nodes), those of one domain beside each other. In a domain with sub-domains, nodes that
    are in none make a block of the domain's own name."""
    found: dict[tuple[str, str], list[str]] = {}
    for place in topology.places.values():
        if place.domain:
            found.setdefault((place.domain, place.sub_domain), []).append(place.node)
    return [(sub or domain, nodes) for (domain, sub), nodes in sorted(found.items())]


def _block_names(naming: BlockName, blocks: Sequence[tuple[str, list[str]]]) -> list[str]:
    template = re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda match: rf"\g<{match[1] or match[2]}>", naming.template)
    expanded = iter(expand_matches(naming.expression, template, [node for _, nodes in blocks for node in nodes]))
    names: list[str] = []
    for _, nodes in blocks:
        found = {next(expanded) for _ in nodes}
        if len(found) != 1 or "" in found:
            raise Unsupported(f"blockName: the nodes of one block come out as {', '.join(sorted(found)) or 'nothing'}")
        names.append(_BAD_NAME.sub("-", found.pop()))
    return names
