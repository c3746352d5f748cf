"""What a foreign gateway says beside the headers: whom the request may go to, and who answered it.

Protocol: docs/proposals/004-endpoint-picker-protocol of the Gateway API Inference Extension.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2

from fairlead.gateway.protocol import ENDPOINT_SERVED_HEADER, ENDPOINT_SUBSET_HEADER

SUBSET_NAMESPACE = "envoy.lb.subset_hint"
LB_NAMESPACE = "envoy.lb"
UPSTREAM_ADDRESS_ATTRIBUTE = "upstream.address"


def subset_of(message: pb.ProcessingRequest) -> tuple[str, ...] | None:
    """Addresses the request may go to: None = any, empty = the gateway knows of none."""
    if not message.HasField("metadata_context"):
        return None
    spaces = message.metadata_context.filter_metadata
    if SUBSET_NAMESPACE not in spaces:
        return None
    fields = spaces[SUBSET_NAMESPACE].fields
    if ENDPOINT_SUBSET_HEADER not in fields:
        return None
    return tuple(address for text in _texts(fields[ENDPOINT_SUBSET_HEADER]) for address in addresses(text))


def served_by(message: pb.ProcessingRequest) -> str:
    """Address of the endpoint that answered; empty when the gateway does not say."""
    spaces = message.metadata_context.filter_metadata
    if LB_NAMESPACE in spaces:
        fields = spaces[LB_NAMESPACE].fields
        if ENDPOINT_SERVED_HEADER in fields:
            return str(fields[ENDPOINT_SERVED_HEADER].string_value)
    for attributes in message.attributes.values():
        if UPSTREAM_ADDRESS_ATTRIBUTE in attributes.fields:
            return str(attributes.fields[UPSTREAM_ADDRESS_ATTRIBUTE].string_value)
    return ""


def addresses(text: str) -> Iterator[str]:
    """The parts of a comma-separated list."""
    for part in text.split(","):
        if stripped := part.strip():
            yield stripped


def _texts(value: struct_pb2.Value) -> Iterator[str]:
    """A subset comes as a text, from header-to-metadata rules, or as a list, from control planes."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        yield value.string_value
    elif kind == "list_value":
        for item in value.list_value.values:
            if item.WhichOneof("kind") == "string_value":
                yield item.string_value
