"""An existing Slurm topology.conf, read back: SwitchName and BlockName lines, comments that name ids."""

from __future__ import annotations

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.hostlist import HostLists
from fairlead.devices.topology.model import Place, Switch, Topology


def topology_from_slurm(text: str) -> Topology:
    """A comment `# name=id` right before a line, as Topograph and `engines.slurm` write it, gives the switch's or
    block's id. Raises SourceError, InvalidTopology."""
    lists = HostLists()
    parents: dict[str, str] = {}
    leaves: dict[str, list[str]] = {}
    domains: dict[str, str] = {}
    ids: dict[str, str] = {}
    switches: dict[str, None] = {}
    for number, line in _joined(text):
        if line.startswith("#"):
            name, equals, identifier = line[1:].strip().partition("=")
            if equals and " " not in name:
                ids[name] = identifier
            continue
        fields = _fields(line, number)
        if name := fields.get("switchname", ""):
            switches[name] = None
            for child in lists.expand(fields.get("switches", "")):
                switches[child] = None
                if parents.setdefault(child, name) != name:
                    raise SourceError(
                        f'topology.conf, line {number}: switch "{child}" is also below "{parents[child]}"'
                    )
            for node in lists.expand(fields.get("nodes", "")):
                leaves.setdefault(node, []).append(name)
        elif name := fields.get("blockname", ""):
            for node in lists.expand(fields.get("nodes", "")):
                if domains.setdefault(node, name) != name:
                    raise SourceError(f'topology.conf, line {number}: node "{node}" is also in block "{domains[node]}"')
    return Topology.of(
        (
            Switch(
                ids.get(name, name), ids.get(parents.get(name, ""), parents.get(name, "")), name if name in ids else ""
            )
            for name in switches
        ),
        (
            Place(
                node,
                tuple(ids.get(leaf, leaf) for leaf in leaves.get(node, ())),
                ids.get(domains.get(node, ""), domains.get(node, "")),
            )
            for node in dict.fromkeys([*leaves, *domains])
        ),
    )


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines with their numbers, continued ones (a backslash at the end) joined."""
    lines: list[tuple[int, str]] = []
    open_line = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = open_line + raw.strip()
        if line.endswith("\\"):
            open_line = line[:-1]
            continue
        open_line = ""
        if line:
            lines.append((number, line))
    return lines


def _fields(line: str, number: int) -> dict[str, str]:
    fields: dict[str, str] = {}
    for word in line.split("#")[0].split():
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise SourceError(f'topology.conf, line {number}: "{word}" is not KEY=VALUE; was the file cut off?')
        fields[key.lower()] = value
    return fields
