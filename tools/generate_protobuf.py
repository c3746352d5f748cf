"""Derive `protobuf/fields.json.gz`, the field numbers of built-in kinds, from the Kubernetes API's Go types.

    python tools/generate_protobuf.py GO_SOURCES [OUTPUT]

GO_SOURCES is a folder with checkouts `api` and `apimachinery` of the Kubernetes repositories of those names. The output
holds, for each definition, `{number: field}`; a field is a JSON name, or "@" and a definition whose fields are inlined.
Definitions without fields of their own numbers are left out.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

OUTPUT = Path(__file__).parent.parent / "src/fairlead/embedded/apiserver/protobuf/fields.json.gz"
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"^\t(?:(\w+)\s+)?(\S+)\s+`(.*)`", re.M)
_TAG = re.compile(r'(\w+):"([^"]*)"')
META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def structs(source: str, prefix: str) -> dict[str, dict[str, str]]:
    """Definition -> number -> field of one file of Go types."""
    found: dict[str, dict[str, str]] = {}
    for name, body in _STRUCT.findall(source):
        fields: dict[str, str] = {}
        for _, go_type, text in _FIELD.findall(body):
            tags = dict(_TAG.findall(text))
            parts = tags.get("protobuf", "").split(",")
            if len(parts) < 2:
                continue
            json_name = tags.get("json", "").partition(",")[0]
            if json_name == "-":
                continue
            fields[parts[1]] = json_name or "@" + definition(go_type.lstrip("*"), prefix)
        if fields:
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
        return name
    return f"io.k8s.api.{grouped[1] or 'core'}.{grouped[2]}.{name}"


def main(sources: Path, output: Path) -> None:
    table: dict[str, dict[str, str]] = {}
    for path in sorted((sources / "api").glob("*/*/types.go")):
        group, version = path.parts[-3:-1]
        table |= structs(path.read_text(), f"io.k8s.api.{group}.{version}.")
    for path in sorted((sources / "apimachinery/pkg/apis/meta/v1").glob("*.go")):
        if not path.name.endswith("_test.go"):
            table |= structs(path.read_text(), META)
    table = {name: fields for name, fields in sorted(table.items()) if name.startswith(META) or keep(name)}
    packed = gzip.compress(json.dumps(table, separators=(",", ":"), sort_keys=True).encode(), 9, mtime=0)
    output.write_bytes(packed)
    print(f"{len(table)} definitions, {len(packed)} bytes", file=sys.stderr)


def keep(name: str) -> bool:
    return ".v1." in name or ".autoscaling.v2." in name or ".resource." in name or name.endswith(".Eviction")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUTPUT)
