"""Derive `protobuf/fields.json.gz`, the field numbers of built-in kinds, from the Kubernetes API's Go types.

    python tools/generate_protobuf.py GO_SOURCES [OUTPUT]

GO_SOURCES is a folder with checkouts `api`, `apimachinery` and `apiextensions-apiserver` of the Kubernetes repositories
of those names (branch release-1.36, the one of `schema/builtin.json.gz`, whose definitions are looked up). Go's struct
tags tell number and JSON name together, which the `.proto` files do not. The output holds, for each definition,
`{number: field}`; a field is a JSON name, or "@" and a Go struct whose fields stand inlined in JSON, yet as a message
of their own in protobuf.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

SERVER = Path(__file__).parent.parent / "src/fairlead/embedded/apiserver"
OUTPUT = SERVER / "protobuf/fields.json.gz"
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"^\t(?:\w+\s+)?(\S+)\s+`(.*)`", re.M)
_TAG = re.compile(r'(\w+):"([^"]*)"')
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
HAND_WRITTEN = frozenset(
    META + name for name in ("Time", "MicroTime", "FieldsV1", "Duration", "Patch", "Timestamp", "Verbs")
) | {
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
}  # fmt: skip
"""Definitions whose wire form `protobuf/decode.py` knows."""


def folder(prefix: str) -> str:
    """The folder with the Go package of a definition prefix ("io.k8s.api.core.v1.")."""
    prefix = prefix.rstrip(".")
    if prefix.startswith("io.k8s.api."):
        return "api/" + prefix.removeprefix("io.k8s.api.").replace(".", "/")
    repository, _, rest = prefix.removeprefix("io.k8s.").partition(".")
    return f"{repository}/{rest.replace('.', '/')}"


def structs(source: str, prefix: str) -> dict[str, dict[str, str]]:
    """Definition -> number -> field of one file of Go types."""
    found: dict[str, dict[str, str]] = {}
    for name, body in _STRUCT.findall(source):
        fields: dict[str, str] = {}
        for go_type, text in _FIELD.findall(body):
            tags = dict(_TAG.findall(text))
            parts = tags.get("protobuf", "").split(",")
            json_name = tags.get("json", "").partition(",")[0]
            if len(parts) < 2 or json_name == "-":
                continue
            fields[parts[1]] = json_name or "@" + definition(go_type.lstrip("*"), prefix)
        found[prefix + name] = fields
    return found


def definition(go_type: str, prefix: str) -> str:
    """The definition name of an inlined Go type as its file writes it."""
    package, _, name = go_type.rpartition(".")
    if not package:
        return prefix + name
    if package == "metav1":
        return META + name
    grouped = re.fullmatch(r"([a-z]*?)(v\d\w*)", package)
    if grouped is None:
        return go_type
    return f"io.k8s.api.{grouped[1] or 'core'}.{grouped[2]}.{name}"


def wanted_definitions() -> set[str]:
    """The definitions of the schema table that are structs."""
    table = json.loads(gzip.decompress((SERVER / "schema/builtin.json.gz").read_bytes()))
    return {name for name, node in table["definitions"].items() if "p" in node} - HAND_WRITTEN


def main(sources: Path, output: Path) -> None:
    wanted = wanted_definitions()
    found: dict[str, dict[str, str]] = {}
    for prefix in sorted({name.rpartition(".")[0] + "." for name in wanted}):
        for path in sorted((sources / folder(prefix)).glob("*.go")):
            if not path.name.endswith("_test.go"):
                found |= structs(path.read_text(), prefix)
    table: dict[str, dict[str, str]] = {}
    missing = []
    while wanted:
        name = wanted.pop()
        if name not in found:
            missing.append(name)
            continue
        table[name] = found[name]
        wanted |= {field[1:] for field in found[name].values() if field[0] == "@"} - table.keys()
    packed = gzip.compress(json.dumps(table, separators=(",", ":"), sort_keys=True).encode(), 9, mtime=0)
    output.write_bytes(packed)
    print(f"{len(table)} definitions, {len(packed)} bytes; not found: {sorted(missing) or 'none'}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUTPUT)
