"""Providers by name: from a query to a topology. The only place that knows which parser wants what.

What a parser reads comes through `Inputs`: a file the caller names, a folder and addresses that an operator
allowed, or a command of this machine. A server's clients thus cannot make it read any file or call any address they
like.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from fairlead.devices.topology import documents
from fairlead.devices.topology.errors import SourceError, TopologyError, Unsupported
from fairlead.devices.topology.fabric import Folded
from fairlead.devices.topology.merge import merge
from fairlead.devices.topology.model import Place, Topology
from fairlead.devices.topology.providers import netq, racks, simulation, slurm_conf
from fairlead.devices.topology.providers.accelerators import topology_from_devices
from fairlead.devices.topology.providers.cloud import PARSERS, KnownInstance, topology_from_answers
from fairlead.devices.topology.providers.decoding import decode_json, decode_yaml
from fairlead.devices.topology.providers.infiniband import parse_nvlink_partition, topology_from_ibnetdiscover
from fairlead.devices.topology.providers.inputs import Inputs
from fairlead.devices.topology.providers.labels import topology_from_labels
from fairlead.devices.topology.providers.lldp import topology_from_lldp
from fairlead.devices.topology.snapshot import ClusterSeen

_ELSEWHERE: Final = {
    "infiniband-k8s": "run ibnetdiscover on a node and give its output to infiniband-bm",
    "lambdai": "give its answer, rewritten as a rack file, to file",
    "nscale": "give its answer, rewritten as a rack file, to file",
}


class SimulatedFailure(TopologyError):
    """The test provider was asked to fail: status and message of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Query:
    """`instances`: instance id -> node, None where the caller named none. `cluster`: the API's nodes and devices,
    where the provider reads those or takes its instances from there."""

    inputs: Inputs
    params: Mapping[str, Any] = field(default_factory=dict)
    instances: Mapping[str, KnownInstance] | None = None
    cluster: Callable[[], Awaitable[ClusterSeen]] | None = None

    def nodes(self) -> frozenset[str] | None:
        return None if self.instances is None else frozenset(known.node for known in self.instances.values())

    async def see(self, provider: str) -> ClusterSeen:
        if self.cluster is None:
            raise Unsupported(f'provider "{provider}" reads the Kubernetes API, and none is configured')
        return await self.cluster()


Provider = Callable[[Query], Awaitable[Folded]]


async def discover(provider: str, query: Query) -> Folded:
    """Raises Unsupported for an unknown name, SourceError, InvalidTopology, ApiError."""
    found = PROVIDERS.get(provider)
    if found is None:
        remedy = _ELSEWHERE.get(provider, f"one of {', '.join(PROVIDERS)}")
        raise Unsupported(f"unsupported provider {provider}; {remedy}")
    return await found(query)


async def _infiniband(query: Query) -> Folded:
    text = await query.inputs.text(query.params, command=("ibnetdiscover",))
    folded = topology_from_ibnetdiscover(text, query.nodes())
    partitions = query.params.get("nvidiaSmi")
    if partitions is None:
        return folded
    if not isinstance(partitions, Mapping):
        raise Unsupported("provider.params.nvidiaSmi: expected an object of node -> output of `nvidia-smi -q`")
    domains = Topology.of(
        places=[Place(str(node), domain=parse_nvlink_partition(str(text))) for node, text in partitions.items()]
    )
    return Folded(merge([("ibnetdiscover", folded.topology), ("nvidia-smi", domains)]), folded.remarks)


async def _lldp(query: Query) -> Folded:
    raw = await query.inputs.text(query.params)
    answers = decode_json(raw, dict[str, Any], "lldp input")
    if "lldp" in answers:
        raise SourceError(
            "lldp input: expected an object of host -> output of `lldpctl -f json`; this is one host's output"
        )
    return topology_from_lldp({host: msgspec.json.encode(answer) for host, answer in answers.items()}, query.nodes())


async def _netq(query: Query) -> Folded:
    return netq.topology_from_json(await query.inputs.text(query.params), query.nodes())


def _cloud(name: str) -> Provider:
    async def provider(query: Query) -> Folded:
        return topology_from_answers(name, await query.inputs.text(query.params), query.instances)

    return provider


async def _file(query: Query) -> Folded:
    return Folded(_only(read_any(await query.inputs.text(query.params)), query), ())


async def _test(query: Query) -> Folded:
    status = query.params.get("topologyResponseCode", 200)
    if isinstance(status, int) and (status == 202 or 400 <= status <= 599):
        raise SimulatedFailure(status, str(query.params.get("errorMessage", "")))
    if status != 200:
        raise Unsupported(f"Invalid topology response code: {status}")
    if query.params.get("modelFileName"):
        raw = await query.inputs.model(query.params["modelFileName"])
        return Folded(_only(simulation.topology_from_model(raw, str(query.params["modelFileName"])), query), ())
    return Folded(simulation.topology_from_model(_BUILT_IN), ())


async def _labels(query: Query) -> Folded:
    cluster = await query.see("labels")
    return Folded(_only(topology_from_labels(cluster.labels), query), ())


async def _devices(query: Query) -> Folded:
    cluster = await query.see("dra")
    devices = ((device.node, device.attributes) for listed in cluster.devices.values() for device in listed)
    return Folded(_only(topology_from_devices(devices, cluster.labels), query), ())


_BUILT_IN = """
switches: {S1: {switches: [S2, S3]}}
blocks:
- {switch: S2, nodes: ["Node[201-202,205]"]}
- {switch: S3, nodes: ["Node[304-306]"]}
"""
"""The six nodes that Topograph's test provider answers with where no model is named."""

PROVIDERS: Final[Mapping[str, Provider]] = {
    "infiniband-bm": _infiniband,
    "lldp": _lldp,
    "netq": _netq,
    **{name: _cloud(name) for name in PARSERS},
    "file": _file,
    "test": _test,
    "labels": _labels,
    "dra": _devices,
}


def read_any(text: str) -> Topology:
    """A file of any of our forms, told apart by what is in it: a topology document, a simulation model, a rack
    file, a CSV, a topology.conf. Raises SourceError, InvalidTopology."""
    head = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    if head.lower().startswith(("switchname=", "blockname=")):
        return slurm_conf.topology_from_slurm(text)
    if "," in head and "node" in [cell.strip() for cell in head.split(",")]:
        return racks.topology_from_csv(text)
    document = decode_yaml(text, dict[str, Any], "input")
    if "blocks" in document or isinstance(document.get("switches"), dict):
        return simulation.topology_from_model(text)
    if isinstance(document.get("nodes"), dict):
        return racks.topology_from_racks(text)
    return documents.read(text)


def _only(topology: Topology, query: Query) -> Topology:
    """Without nodes that the caller did not name; its instance ids are put in."""
    if query.instances is None:
        return topology
    by_node = {known.node: (identifier, known.region) for identifier, known in query.instances.items()}
    return Topology.of(
        topology.switches.values(),
        [
            replace(
                place,
                instance=place.instance or (by_node[place.node][0] if by_node[place.node][0] != place.node else ""),
                region=place.region or by_node[place.node][1],
            )
            for place in topology.places.values()
            if place.node in by_node
        ],
    )
