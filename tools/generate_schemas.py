"""Derive `schema/builtin.json.gz`, the table of built-in kinds, from published descriptions of the Kubernetes API.

    python tools/generate_schemas.py DEFINITIONS GO_SOURCES [OUTPUT]

DEFINITIONS is `_definitions.json` of the PyPI package kubernetes-validate (its folder `v1.36.0-local`): fields, types,
list types, patch metadata. GO_SOURCES is a folder with checkouts `api`, `apimachinery` and `apiextensions-apiserver`
of the Kubernetes repositories of those names: only they tell which empty fields Go leaves out, and the type names in
decoding errors. The output holds no descriptive text.

Form of the output: {"definitions": {name: node}, "kinds": {"group/version/Kind": name}}; a node's keys are
t type letter, f format, $ reference, p properties, r required, A map values, i items, L list type, K list keys,
M atomic map, k patch merge key, s patch strategies, d default, g Go type where it is not derivable,
z how Go writes the empty value ("a" always, "p" only when given, "" never), u preserve unknown fields.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent.parent / "src/fairlead/embedded/apiserver/schema/builtin.json.gz"

GROUP_VERSIONS = {
    "admissionregistration.v1", "apps.v1", "authentication.v1", "authorization.v1", "autoscaling.v1", "autoscaling.v2",
    "batch.v1", "certificates.v1", "coordination.v1", "coordination.v1beta1", "core.v1", "discovery.v1", "events.v1",
    "flowcontrol.v1", "networking.v1", "node.v1", "policy.v1", "rbac.v1", "resource.v1", "resource.v1beta1",
    "resource.v1beta2", "scheduling.v1", "scheduling.v1alpha2", "storage.v1",
}  # fmt: skip
OTHER_ROOTS = (
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.",
    "io.k8s.apimachinery.pkg.apis.meta.v1.",
    "io.k8s.apimachinery.pkg.version.",
)
FORMATS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"t": "s", "f": "quantity"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"t": "o", "u": 1},
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": {"t": "s", "f": "micro-time"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"t": "s", "f": "date-time"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"t": "o", "u": 1},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"t": "", "f": "int-or-string"},
}
TYPE_LETTERS = {"string": "s", "integer": "i", "number": "n", "boolean": "b", "object": "o", "array": "a"}
NIL_DIFFERS = {("ResourceSliceSpec", "devices"), ("ResourceSliceSpec", "sharedCounters")}
"""Lists whose rules tell an empty one from one that is absent."""

EXTENSIONS = {
    "x-kubernetes-list-map-keys": "K",
    "x-kubernetes-patch-merge-key": "k",
    "x-kubernetes-patch-strategy": "s",
}
GROUP_SUFFIXES = {
    "admissionregistration": ".k8s.io", "authentication": ".k8s.io", "authorization": ".k8s.io",
    "certificates": ".k8s.io", "coordination": ".k8s.io", "discovery": ".k8s.io", "events": ".k8s.io",
    "flowcontrol": ".apiserver.k8s.io", "networking": ".k8s.io", "node": ".k8s.io", "rbac": ".authorization.k8s.io",
    "resource": ".k8s.io", "scheduling": ".k8s.io", "storage": ".k8s.io",
}  # fmt: skip


@dataclass
class GoField:
    name: str
    go_type: str
    omit_empty: bool
    omit_zero: bool
    default: Any = None


@dataclass
class GoPackage:
    """Structs (JSON name -> field) and other named types of one Go package."""

    structs: dict[str, dict[str, GoField]] = field(default_factory=dict)
    embedded: dict[str, list[str]] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)

    def fields(self, struct: str) -> dict[str, GoField]:
        found: dict[str, GoField] = {}
        for name in self.embedded.get(struct, []):
            found |= self.fields(name)
        return found | self.structs.get(struct, {})


_STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^type (\w+) ((?:\[\]|map\[)?[\w.\]\[]+)$", re.MULTILINE)
_FIELD = re.compile(r'^\s+(?:(\w+)\s+)?([^\s`/]+)\s+`json:"([^"]*)"')
_DEFAULT = re.compile(r"^\s+// \+default=(.*)$")


def parse_go(folder: Path) -> GoPackage:
    package = GoPackage()
    for path in sorted(folder.glob("*.go")):
        if path.name.endswith("_test.go") or path.name.startswith(("zz_", "generated")):
            continue
        source = path.read_text()
        package.named |= {name: target for name, target in _NAMED.findall(source) if target != "struct"}
        for name, body in _STRUCT.findall(source):
            package.structs[name], package.embedded[name] = parse_struct(body)
    return package


def parse_struct(body: str) -> tuple[dict[str, GoField], list[str]]:
    fields: dict[str, GoField] = {}
    embedded = []
    default = None
    for line in body.splitlines():
        marker = _DEFAULT.match(line)
        if marker and not marker[1].startswith("ref("):
            default = json.loads(marker[1])
        match = _FIELD.match(line)
        if match is None:
            continue
        _, go_type, tag = match.groups()
        json_name, *options = tag.split(",")
        if json_name:
            fields[json_name] = GoField(json_name, go_type, "omitempty" in options, "omitzero" in options, default)
        else:
            embedded.append(go_type)
        default = None
    return fields, embedded


class Generator:
    def __init__(self, definitions: dict[str, Any], go_sources: Path) -> None:
        self.definitions = definitions
        self.go_sources = go_sources
        self.packages: dict[str, GoPackage] = {}

    def package(self, definition: str) -> GoPackage:
        prefix = definition.rpartition(".")[0]
        if prefix not in self.packages:
            self.packages[prefix] = parse_go(self.go_sources / self.folder(prefix))
        return self.packages[prefix]

    @staticmethod
    def folder(prefix: str) -> str:
        if prefix.startswith("io.k8s.api."):
            return "api/" + prefix.removeprefix("io.k8s.api.").replace(".", "/")
        repository, _, rest = prefix.removeprefix("io.k8s.").partition(".")
        return f"{repository}/{rest.replace('.', '/')}"

    def definition(self, name: str) -> dict[str, Any]:
        source = self.definitions[name]
        node = FORMATS.get(name) or self.node(source)
        if name in FORMATS or "properties" not in source:
            return node
        package = self.package(name)
        go_fields = package.fields(name.rpartition(".")[2])
        declared = {json_name: None for json_name in go_fields if json_name in source["properties"]}
        # In the order of the Go struct, which is that of JSON from the API server.
        for json_name in declared | dict.fromkeys(source["properties"]):
            compact = self.node(source["properties"][json_name])
            if json_name in go_fields:
                self.add_go_facts(compact, go_fields[json_name], name, package)
            node.setdefault("p", {})[json_name] = compact
        return node

    def node(self, source: dict[str, Any]) -> dict[str, Any]:
        compact: dict[str, Any] = {}
        reference = source.get("$ref")
        if reference:
            compact["$"] = reference.rpartition("/")[2]
        else:
            declared = source.get("type", "")
            if isinstance(declared, list):
                declared = next(name for name in declared if name != "null")
            compact["t"] = TYPE_LETTERS.get(declared, "")
        compact |= {short: source[long] for long, short in EXTENSIONS.items() if long in source}
        if source.get("format"):
            compact["f"] = source["format"]
        if source.get("required"):
            compact["r"] = source["required"]
        if "items" in source:
            compact["i"] = self.node(source["items"])
        if "additionalProperties" in source:
            compact["A"] = self.node(source["additionalProperties"])
        if source.get("x-kubernetes-list-type", "atomic") != "atomic":
            compact["L"] = source["x-kubernetes-list-type"]
        if source.get("x-kubernetes-map-type") == "atomic":
            compact["M"] = 1
        if source.get("x-kubernetes-preserve-unknown-fields"):
            compact["u"] = 1
        return compact

    def add_go_facts(self, node: dict[str, Any], go: GoField, owner: str, package: GoPackage) -> None:
        pointer = go.go_type.startswith("*")
        spelled = go_type_name(go.go_type.lstrip("*"), owner)
        if not go.omit_empty and not go.omit_zero:
            node["z"] = "a" if not pointer else "n"
        elif pointer or (owner.rpartition(".")[2], go.name) in NIL_DIFFERS:
            node["z"] = "p"
        elif self.is_struct(node) and not go.omit_zero:
            node["z"] = "a"
        if go.default is not None:
            node["d"] = go.default
        self.name_type(node, spelled, go.go_type.lstrip("*"), package)

    def is_struct(self, node: dict[str, Any]) -> bool:
        target = node.get("$", "")
        return bool(target) and (target in FORMATS or "properties" in self.definitions[target])

    def name_type(self, node: dict[str, Any], spelled: str, raw: str, package: GoPackage) -> None:
        derived = self.derived_type(node)
        if spelled != derived:
            node["g"] = spelled
        raw = package.named.get(raw, raw)
        for marker, key in (("[]", "i"), ("map[", "A")):
            if raw.startswith(marker) and key in node and "$" not in node[key]:
                element = raw[2:] if marker == "[]" else raw.partition("]")[2]
                element = element.lstrip("*")
                self.name_type(node[key], go_type_name(element, spelled), element, package)

    def derived_type(self, node: dict[str, Any]) -> str:
        if "$" in node:
            return ".".join(node["$"].split(".")[-2:])
        if "i" in node:
            return "[]" + self.derived_type(node["i"])
        if "A" in node:
            return "map[string]" + self.derived_type(node["A"])
        return {"s": "string", "b": "bool", "n": "float64", "i": node.get("f", "int64")}.get(node["t"], "")


def go_type_name(raw: str, owner: str) -> str:
    """A Go type as reflection prints it, with the version as package name."""
    if raw.startswith("[]"):
        element = raw[2:]
        return "[]uint8" if element == "byte" else "[]" + pointer_aware(element, owner)
    if raw.startswith("map["):
        key, _, value = raw[4:].partition("]")
        return f"map[{go_type_name(key, owner)}]{pointer_aware(value, owner)}"
    if raw in {"string", "bool", "int32", "int64", "float64", "int", "byte", "uint8"}:
        return raw
    if "." in raw:
        package, _, name = raw.partition(".")
        version = re.search(r"v\d+(?:(?:alpha|beta)\d+)?$", package)
        return f"{version[0] if version else package}.{name}"
    owner_package = owner.lstrip("[]*").split(".")[-2] if "." in owner else "v1"
    return f"{owner_package}.{raw}"


def pointer_aware(raw: str, owner: str) -> str:
    return "*" + go_type_name(raw[1:], owner) if raw.startswith("*") else go_type_name(raw, owner)


def selected(name: str) -> bool:
    if name.startswith("io.k8s.api."):
        return ".".join(name.split(".")[3:5]) in GROUP_VERSIONS
    return name.startswith(OTHER_ROOTS)


def kinds_of(name: str) -> list[str]:
    """ "group/version/Kind" of a definition, whether or not it is served at the top level."""
    parts = name.split(".")
    if name.startswith("io.k8s.api."):
        group, version, kind = parts[3], parts[4], parts[5]
        group = "" if group == "core" else group + GROUP_SUFFIXES.get(group, "")
        return [f"{group}/{version}/{kind}"]
    if ".apiextensions.v1." in name:
        return [f"apiextensions.k8s.io/v1/{parts[-1]}"]
    if ".apiregistration.v1." in name:
        return [f"apiregistration.k8s.io/v1/{parts[-1]}"]
    return [f"meta.k8s.io/v1/{parts[-1]}"] if ".meta.v1." in name else []


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$"]} if isinstance(node.get("$"), str) else set()
        return found.union(*(references(child) for child in node.values())) if node else found
    return set()


def main(definitions_path: str, go_sources: str, output: str = str(OUTPUT)) -> None:
    definitions = json.loads(Path(definitions_path).read_text())["$defs"]
    generator = Generator(definitions, Path(go_sources))
    table: dict[str, Any] = {}
    wanted = sorted(filter(selected, definitions))
    while wanted:
        name = wanted.pop()
        if name not in table:
            table[name] = generator.definition(name)
            wanted.extend(references(table[name]) - table.keys())
    kinds = {
        kind: name
        for name in sorted(table)
        for kind in kinds_of(name)
        if {"apiVersion", "kind"} <= table[name].get("p", {}).keys()
    }
    document = {"definitions": dict(sorted(table.items())), "kinds": kinds}
    data = json.dumps(document, separators=(",", ":"), sort_keys=False).encode()
    Path(output).write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{len(table)} definitions, {len(data)} bytes, {Path(output).stat().st_size} compressed")


if __name__ == "__main__":
    main(*sys.argv[1:])
