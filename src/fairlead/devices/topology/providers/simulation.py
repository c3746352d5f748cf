"""Topograph's simulation models: `switches` in a tree, `blocks` of nodes on them, labels and annotations on both.

    switches: {core: {switches: [leaf-1]}, leaf-1: {}}
    blocks:   [{switch: leaf-1, nodes: ["n[1-8]"], annotations: {accelerator.topology.test/domain: nvl-1}}]

Labels and annotations of a switch hold for all nodes below it; the closer one wins.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.devices.topology.errors import InvalidTopology, Problem, SourceError
from fairlead.devices.topology.hostlist import HostLists
from fairlead.devices.topology.label_values import REGION, ZONE
from fairlead.devices.topology.model import Place, Switch, Topology
from fairlead.devices.topology.providers.decoding import decode_yaml

DOMAIN_ANNOTATION = "accelerator.topology.test/domain"
SUB_DOMAIN_ANNOTATION = "accelerator.topology.test/sub-domain"


class _SwitchModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    switches: tuple[str, ...] = ()


class _Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    switch: str = ""
    nodes: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class SimulationModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    switches: Mapping[str, _SwitchModel] = {}
    blocks: tuple[_Block, ...] = ()


def topology_from_model(raw: bytes | str, source: str = "model") -> Topology:
    """Raises SourceError, InvalidTopology."""
    model = decode_yaml(raw, SimulationModel, source)
    lists = HostLists()
    parents: dict[str, str] = {}
    problems: list[Problem] = []
    for name, switch in model.switches.items():
        for child in switch.switches:
            if parents.setdefault(child, name) != name:
                text = f'switch "{child}" has two parents, "{parents[child]}" and "{name}"'
                problems.append(Problem("DuplicateSwitch", child, text))
    if problems:
        raise InvalidTopology(problems)
    names = dict.fromkeys([*model.switches, *parents])
    # Checked first: labels are inherited along the parents, which must not go round in a ring.
    tree = Topology.of(Switch(name, parents.get(name, "")) for name in names)
    places: list[Place] = []
    for index, block in enumerate(model.blocks):
        nodes = lists.expand(block.nodes)
        if not nodes:
            raise SourceError(f"{source}: blocks[{index}] has no nodes; name at least one")
        if block.switch and block.switch not in names:
            raise SourceError(
                f'{source}: blocks[{index}] is on switch "{block.switch}", which is not among the switches'
            )
        labels, annotations = _inherited(model, tree, block)
        zone, region = labels.pop(ZONE, ""), labels.pop(REGION, "")
        places += [
            Place(
                node,
                (block.switch,) if block.switch else (),
                annotations.get(DOMAIN_ANNOTATION, ""),
                annotations.get(SUB_DOMAIN_ANNOTATION, ""),
                zone,
                region,
                labels=dict(sorted(labels.items())),
            )
            for node in nodes
        ]
    return Topology.of(tree.switches.values(), places)


def _inherited(model: SimulationModel, tree: Topology, block: _Block) -> tuple[dict[str, str], dict[str, str]]:
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for name in reversed(tree.path_from(block.switch)) if block.switch else ():
        switch = model.switches.get(name, _SwitchModel())
        labels |= switch.labels
        annotations |= switch.annotations
    return labels | dict(block.labels), annotations | dict(block.annotations)
