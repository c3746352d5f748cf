"""Clouds: what their APIs and metadata servers say about where instances are. Parsers only; `http.py` reads.

AWS EC2 `DescribeInstanceTopology` (networkNodes from the top down, capacityBlockId), GCP `instances.list`
(resourceStatus.physicalHostTopology: cluster > block > subblock) and the metadata attribute `physical_host`, OCI
`ListComputeHosts` and the metadata of the host (island > network block > local block, GPU memory fabric), Nebius
`instances.list` (infiniband_topology_path, from the top down). Answers may come in pages: a list of documents.

Fairlead signs no cloud requests: the JSON comes from the cloud's own command line tool (`aws ec2
describe-instance-topology`), from a proxy, or from the metadata server that needs no credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.fabric import Folded
from fairlead.devices.topology.model import Place, Switch, Topology
from fairlead.devices.topology.providers.decoding import decode_json

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Instance:
    """What a cloud says about one instance. `tiers` are switch ids, closest first; empty where the cloud does not
    tell."""

    id: str
    tiers: tuple[str, ...] = ()
    domain: str = ""
    sub_domain: str = ""
    zone: str = ""
    region: str = ""
    name: str = ""


def parse_aws(answer: Answer) -> list[Instance]:
    found: list[Instance] = []
    for item in _items(answer, "Instances", "instances", "instanceSet"):
        zone = _text(item, "AvailabilityZone", "availabilityZone")
        found.append(
            Instance(
                _needed(item, "AWS", "InstanceId", "instanceId"),
                tuple(reversed(_texts(item, "NetworkNodes", "networkNodes", "networkNodeSet"))),
                _text(item, "CapacityBlockId", "capacityBlockId"),
                zone=zone,
                region=zone.rstrip("abcdefghijklmnopqrstuvwxyz"),
            )
        )
    return found


def parse_gcp(answer: Answer) -> list[Instance]:
    found: list[Instance] = []
    for item in _items(answer, "items"):
        status = _object(item, "resourceStatus", "resource_status")
        host = _object(status, "physicalHostTopology", "physical_host_topology")
        tiers = tuple(_text(host, level) for level in ("subblock", "block", "cluster"))
        if not all(tiers):
            names = ("physicalHost", "physical_host")
            tiers = _physical_host(_text(status, *names) or _text(item, *names))
        zone = _text(item, "zone").rpartition("/")[2]
        name = _text(item, "name")
        found.append(
            Instance(
                _text(item, "id") or name or _needed(item, "GCP", "id"),
                tiers,
                tiers[0] if len(tiers) == 3 else "",
                zone=zone,
                region=zone.rpartition("-")[0],
                name=name,
            )
        )
    return found


def _physical_host(path: str) -> tuple[str, ...]:
    """`/cluster/block/…/host` without the host, which no two instances share, from the closest up."""
    parts = [part for part in path.split("/") if part]
    return tuple(reversed(["/".join(parts[:depth]) for depth in range(1, len(parts))]))


def parse_oci(answer: Answer) -> list[Instance]:
    found: list[Instance] = []
    for raw in _oci_hosts(answer):
        item = {_camel(key): value for key, value in raw.items()}
        rdma = _object(item, "rdmaTopologyData")
        tiers = (
            _text(item, "localBlockId") or _text(rdma, "customerLocalBlock"),
            _text(item, "networkBlockId") or _text(rdma, "customerNetworkBlock"),
            _text(item, "hpcIslandId") or _text(rdma, "customerHPCIslandId"),
        )
        identifier = _text(item, "instanceId", "id") or _text(rdma, "instanceId")
        if not identifier:
            continue  # a host that nobody rents
        domain = _text(item, "gpuMemoryFabricId") or _text(rdma, "customerGpuMemoryFabric")
        rack = _text(_object(_object(item, "additionalData"), "locationDetails"), "rack")
        found.append(
            Instance(
                identifier,
                tiers if all(tiers) else (),
                domain,
                f"{domain}.{rack}" if domain and rack else "",
                zone=_text(item, "availabilityDomain"),
                name=_text(item, "displayName"),
            )
        )
    return found


def _oci_hosts(answer: Answer) -> list[Answer]:
    """From the API, from Oracle's command line tool (`data`), or one host's metadata."""
    data: Any = answer.get("data", answer)
    if isinstance(data, list):
        return _items({"data": data}, "data")
    return _items(data, "items") if isinstance(data, dict) and "items" in data else [answer]


def parse_nebius(answer: Answer) -> list[Instance]:
    found: list[Instance] = []
    for item in _items(answer, "items"):
        metadata, status, spec = (_object(item, part) for part in ("metadata", "status", "spec"))
        path = _object(status, "infinibandTopologyPath", "infiniband_topology_path")
        found.append(
            Instance(
                _needed(metadata, "Nebius", "id"),
                tuple(reversed(_texts(path, "path"))),
                _text(spec, "nvlInstanceGroupId", "nvl_instance_group_id"),
                name=_text(metadata, "name"),
            )
        )
    return found


PARSERS: Mapping[str, Callable[[Answer], list[Instance]]] = {
    "aws": parse_aws,
    "gcp": parse_gcp,
    "oci": parse_oci,
    "nebius": parse_nebius,
}


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """An instance that the caller knows: which node it is, and in which region."""

    node: str
    region: str = ""


def topology_from_answers(
    provider: str, raw: bytes | str, instances: Mapping[str, KnownInstance] | None = None
) -> Folded:
    """One answer or a list of them. With `instances` (instance id -> node) only those count; else a node goes by its
    instance's name or id. Raises SourceError, InvalidTopology."""
    document = decode_json(raw, Any, f"{provider} answer")
    answers: list[Any] = document if isinstance(document, list) else [document]
    if provider != "aws" and isinstance(document, list) and answers and not _has_items(answers[0]):
        answers = [{"items": document}]  # as `gcloud compute instances list --format=json` prints it
    found: dict[str, Instance] = {}
    for answer in answers:
        if not isinstance(answer, dict):
            raise SourceError(f"{provider} answer: expected an object or a list of objects")
        for instance in PARSERS[provider](answer):
            if instance.id in found:
                raise SourceError(f'{provider} answer: instance "{instance.id}" is there twice')
            found[instance.id] = instance
    remarks: list[str] = []
    if instances is not None:
        if absent := sorted(set(instances) - set(found)):
            remarks.append(f"the cloud says nothing about {len(absent)} instances, such as {', '.join(absent[:5])}")
        found = {identifier: instance for identifier, instance in found.items() if identifier in instances}
    if without := sorted(instance.id for instance in found.values() if not instance.tiers):
        remarks.append(f"no place in the network told for {len(without)} instances, such as {', '.join(without[:5])}")
    return Folded(build(found.values(), instances or {}), tuple(remarks))


def _has_items(answer: Any) -> bool:
    return isinstance(answer, dict) and ("items" in answer or "data" in answer)


def build(found: Iterable[Instance], known: Mapping[str, KnownInstance]) -> Topology:
    """Raises InvalidTopology, where two instances tell different parents of a switch for instance."""
    switches: dict[str, Switch] = {}
    places: list[Place] = []
    for instance in found:
        add_chain(switches, instance.tiers)
        node = known.get(instance.id, KnownInstance(instance.name or instance.id))
        places.append(
            Place(
                node.node,
                instance.tiers[:1],
                instance.domain,
                instance.sub_domain,
                instance.zone,
                instance.region or node.region,
                instance.id if instance.id != node.node else "",
            )
        )
    return Topology.of(switches.values(), places)


def add_chain(switches: dict[str, Switch], tiers: Sequence[str]) -> None:
    """Put a node's switches, closest first, into `switches`. Raises SourceError where one has another parent
    already."""
    for identifier, parent in zip_longest(tiers, tiers[1:], fillvalue=""):
        known = switches.get(identifier)
        if known is None or (not known.parent and parent):
            switches[identifier] = replace(known, parent=parent) if known else Switch(identifier, parent)
        elif parent and known.parent != parent:
            raise SourceError(
                f'switch "{identifier}" is under "{known.parent}" for one node and under "{parent}" for another; '
                "a switch has one parent"
            )


def _items(answer: Answer, *names: str) -> list[Answer]:
    for name in names:
        value = answer.get(name)
        if isinstance(value, list):
            if not all(isinstance(item, dict) for item in value):
                raise SourceError(f"cloud answer: expected objects in {name}")
            return value
    raise SourceError(f"cloud answer: expected a list {names[0]}; found {', '.join(sorted(answer)[:6]) or 'nothing'}")


def _object(item: Answer, *names: str) -> Answer:
    for name in names:
        value = item.get(name)
        if isinstance(value, dict):
            return value
    return {}


def _text(item: Answer, *names: str) -> str:
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _texts(item: Answer, *names: str) -> list[str]:
    for name in names:
        value = item.get(name)
        if isinstance(value, list):
            return [part for part in value if isinstance(part, str) and part]
    return []


def _needed(item: Answer, provider: str, *names: str) -> str:
    text = _text(item, *names)
    if not text:
        raise SourceError(f"{provider} answer: an instance without {names[0]}: {str(dict(item))[:80]}")
    return text


def _camel(key: str) -> str:
    """`instance-id`, as Oracle's command line tool writes it, is `instanceId`."""
    first, *rest = key.split("-")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
