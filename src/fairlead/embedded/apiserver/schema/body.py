"""Request bodies as plain data: JSON or YAML, with duplicate fields and the API server's words for bad syntax."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import yaml

from fairlead.embedded.apiserver.schema.json_syntax import duplicate_fields, kind_name, syntax_error
from fairlead.kube.errors import BadRequest

DUPLICATE_KEYS = "yaml: unmarshal errors:\n"
"""What precedes the duplicate keys of a YAML document, one a line."""
_GO_HEADER = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def parse_body(data: bytes, content_type: str) -> tuple[dict[str, Any], list[str]]:
    """The object in a body and its duplicate fields (`duplicate field "spec.x"`); the last of duplicates counts.

    `content_type` is a media type, parameters allowed. JSON `null` is the empty object. Raises BadRequest whose message
    is what the API server says after "couldn't get version/kind; ".
    """
    if "yaml" in content_type:
        return _parse_yaml(data)
    try:
        value = _decode(data)
    except msgspec.DecodeError:
        value = _decode_leniently(data)
    if type(value) is dict:
        return value, duplicate_fields(data) if _may_repeat(data, value) else []
    if value is None:
        return {}, []
    raise BadRequest(f"json parse error: json: cannot unmarshal {kind_name(value)} into Go value of type {_GO_HEADER}")


def _decode_leniently(data: bytes) -> Any:
    """What Go takes and msgspec refuses (invalid UTF-8, lone surrogates, large numbers). Raises BadRequest."""
    problem = syntax_error(data)
    if problem is not None:
        raise BadRequest(f"json parse error: {problem}")
    try:
        return json.loads(data.decode("utf8", "replace").encode("utf8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"json parse error: {error}") from error


def _may_repeat(data: bytes, value: dict[str, Any]) -> bool:
    # Written again without its duplicates, the object has as many colons after quotes as before unless there were some.
    if data.count(b'":') != _encode(value).count(b'":'):
        return True
    return _SPACED_COLON.search(data) is not None


class _Loader(yaml.CSafeLoader):
    """YAML as Go's library reads it for Kubernetes: JSON's types only, and duplicate keys noted."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            name = key if isinstance(key, str) else _key_text(key)
            if name in mapping:
                line = key_node.start_mark.line + 1
                self.duplicates.append(f'  line {line}: key "{name}" already set in map')
            mapping[name] = self.construct_object(value_node, deep=True)
        return mapping

    def construct_yaml_map(self, node: yaml.MappingNode) -> Any:
        return self.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
    ]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|y|Y|n|N)$"),
    list("yYnNtTfFoO"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
_BOOLEANS = {"y": True, "yes": True, "true": True, "on": True, "n": False, "no": False, "false": False, "off": False}
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_yaml_map)
_Loader.add_constructor("tag:yaml.org,2002:bool", lambda loader, node: _BOOLEANS[node.value.lower()])
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: _integer(node.value))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _float(node.value))
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda loader, node: node.value)


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float(text: str) -> float | int:
    word = text.lower().lstrip("+-")
    if word in (".inf", ".nan"):
        raise yaml.YAMLError(f"json: unsupported value: {text}")
    value = float(text.replace("_", ""))
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _key_text(key: Any) -> str:
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def _parse_yaml(data: bytes) -> tuple[dict[str, Any], list[str]]:
    loader = _Loader(data)
    try:
        value = loader.get_data() if loader.check_data() else None  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRequest(f"yaml: {_yaml_problem(error)}") from error
    finally:
        loader.dispose()
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        raise BadRequest(f"json: cannot unmarshal {kind_name(value)} into Go value of type {_GO_HEADER}")
    problems = [DUPLICATE_KEYS + "\n".join(loader.duplicates)] if loader.duplicates else []
    return value, problems


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)
