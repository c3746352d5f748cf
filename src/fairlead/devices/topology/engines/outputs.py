"""Engines by name: what a request's `engine` becomes. Pure but for `k8s`, whose labels the caller writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.devices.topology.engines.graph import graph_json
from fairlead.devices.topology.engines.labels import LabelSettings
from fairlead.devices.topology.engines.slurm import BLOCK, TREE, BlockName, block_conf, tree_conf
from fairlead.devices.topology.errors import Unsupported
from fairlead.devices.topology.label_values import DOMAIN
from fairlead.devices.topology.model import Topology

ENGINES = ("k8s", "slurm", "graph")
_ELSEWHERE = {
    "nfd": "use k8s, which labels the nodes directly",
    "slinky": "use slurm and put its answer into the ConfigMap",
}


def check_engine(name: str) -> None:
    """Raises Unsupported."""
    if not name:
        raise Unsupported("no engine given for topology request")
    if name not in ENGINES:
        remedy = _ELSEWHERE.get(name)
        raise Unsupported(
            f"unsupported engine {name}" + (f"; {remedy}" if remedy else f"; one of {', '.join(ENGINES)}")
        )


def render(engine: str, topology: Topology, params: Mapping[str, Any]) -> bytes:
    """The text of `slurm` or `graph`. Raises Unsupported for parameters that are not served."""
    for name, why in (
        ("topologyConfigPath", "files are not written; read the answer"),
        ("reconfigure", "run `scontrol reconfigure` where Slurm runs"),
        ("topologies", "topologies by partition are not served; ask once for each"),
    ):
        if params.get(name):
            raise Unsupported(f"engine.params.{name}: {why}")
    fabric = _text(params, "fabric") or None
    if engine == "graph":
        return graph_json(topology, fabric)
    plugin = _text(params, "plugin") or TREE
    if plugin == TREE:
        return tree_conf(topology, fabric).encode()
    if plugin != BLOCK:
        raise Unsupported(f'engine.params.plugin: "{plugin}" is neither {TREE} nor {BLOCK}')
    sizes = params.get("blockSizes") or []
    if not isinstance(sizes, list):
        raise Unsupported(f"engine.params.blockSizes: expected a list of numbers, found {sizes!r}")
    return block_conf(topology, sizes, _naming(params.get("blockName"))).encode()


def label_settings(params: Mapping[str, Any]) -> LabelSettings:
    """Of the `k8s` engine's parameters. Raises Unsupported."""
    keys = params.get("fabricLabels") or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Unsupported(f"engine.params.fabricLabels: expected a list of label keys, found {keys!r}")
    settings = LabelSettings(
        fabric=_text(params, "fabric") or None,
        fabric_labels=tuple(keys),
        domain_label=_text(params, "acceleratorLabel") or DOMAIN,
        domain_source=_text(params, "acceleratorDomainSourceLabel"),
    )
    settings.check()
    return settings


def node_selector(params: Mapping[str, Any]) -> str | None:
    """`nodeSelector` (a map of labels) as a label selector. Raises Unsupported."""
    wanted = params.get("nodeSelector") or {}
    if not isinstance(wanted, Mapping) or not all(isinstance(value, str) for value in wanted.values()):
        raise Unsupported(f"engine.params.nodeSelector: expected an object of label -> value, found {wanted!r}")
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items())) or None


def _naming(value: Any) -> BlockName | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(
        isinstance(value.get(key), str) for key in ("nodeNameRegexp", "format")
    ):
        raise Unsupported("engine.params.blockName: needs both nodeNameRegexp and format")
    return BlockName(value["nodeNameRegexp"], value["format"])


def _text(params: Mapping[str, Any], name: str) -> str:
    value = params.get(name) or ""
    if not isinstance(value, str):
        raise Unsupported(f"engine.params.{name}: expected a text, found {value!r}")
    return value
