"""The file as it is written: `EndpointPickerConfig` of `llm-d.ai/v1alpha1`, field by field, decoded strictly.

Source of names and defaults: llm-d-router `apix/config/v1alpha1`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from fairlead.gateway.config.errors import ConfigError

API_VERSION = "llm-d.ai/v1alpha1"
DEPRECATED_API_VERSION = "inference.networking.x-k8s.io/v1alpha1"
KIND = "EndpointPickerConfig"
MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
"""Values in a file with its aliases followed, of which a few lines can make billions."""


class _Part(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of the file; unknown fields are errors."""


class PluginSpec(_Part):
    type: str
    name: str = ""
    """Empty = the type."""
    parameters: dict[str, Any] | None = None


class PluginUse(_Part):
    plugin_ref: str
    weight: float | None = None


class ProfileSpec(_Part):
    name: str
    plugins: list[PluginUse] = []


class PluginRef(_Part):
    plugin_ref: str = ""


class SourceSpec(_Part):
    plugin_ref: str
    extractors: list[PluginRef] = []


class DataLayer(_Part):
    inject_defaults: bool = True
    sources: list[SourceSpec] = []
    discovery: PluginRef | None = None


class BandSpec(_Part):
    priority: int = 0
    max_bytes: str | int | float | None = None
    max_requests: str | int | float | None = None
    fairness_policy_ref: str = ""
    ordering_policy_ref: str = ""


class FlowControlSpec(_Part):
    max_bytes: str | int | float | None = None
    max_requests: str | int | float | None = None
    default_request_ttl: str | None = msgspec.field(default=None, name="defaultRequestTTL")
    no_endpoint_request_ttl: str | None = msgspec.field(default=None, name="noEndpointRequestTTL")
    default_priority_band: BandSpec | None = None
    default_negative_priority_band: BandSpec | None = None
    priority_bands: list[BandSpec] = []
    usage_limit_policy_plugin_ref: str = ""
    saturation_detector: PluginRef | None = None
    enable_eviction: bool = False


class RequestHandler(_Part):
    parsers: list[PluginRef] = []


class Metadata(_Part):
    """Accepted so that a file may be named; nothing of it is used."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Document(_Part):
    api_version: str
    kind: str
    metadata: Metadata | None = None
    feature_gates: list[str] | None = None
    plugins: list[PluginSpec] = []
    scheduling_profiles: list[ProfileSpec] = []
    data_layer: DataLayer | None = None
    flow_control: FlowControlSpec | None = None
    request_handler: RequestHandler | None = None
    saturation_detector: PluginRef | None = None
    """Deprecated: of `flowControl`."""
    parser: PluginRef | None = None
    """Deprecated: `requestHandler.parsers`."""


class _Loader(yaml.CSafeLoader):
    """Refuses mappings that say the same thing twice, of which YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool):
                if key in seen:
                    raise ConfigError(f"line {key_node.start_mark.line + 1}: {key} is there twice")
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_document(text: str) -> Document:
    """The file's content. Raises ConfigError."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"the configuration has {len(text)} characters: at most {MAX_BYTES} are read")
    try:
        raw = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"neither YAML nor JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError("neither YAML nor JSON that can be read: it is nested too deeply") from error
    except ConfigError:
        raise
    except ValueError as error:
        # Numbers of thousands of digits and dates that are none.
        raise ConfigError(f"a value cannot be read: {error}") from error
    _check_size(raw)
    if not isinstance(raw, dict):
        raise ConfigError(f"the configuration is {type(raw).__name__}: want a mapping with apiVersion and kind")
    version, kind = raw.get("apiVersion"), raw.get("kind")
    if version not in (API_VERSION, DEPRECATED_API_VERSION):
        raise ConfigError(f"apiVersion is {version!r}: want {API_VERSION}")
    if kind != KIND:
        raise ConfigError(f"kind is {kind!r}: want {KIND}")
    try:
        return msgspec.convert(raw, Document)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ConfigError(str(error)) from error


def _check_size(raw: object) -> None:
    pending, count = [raw], 1
    while pending:
        value = pending.pop()
        inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        count += len(inside)
        if count > MAX_VALUES:
            raise ConfigError(f"the configuration has more than {MAX_VALUES} values, aliases followed")
        pending.extend(inside)
