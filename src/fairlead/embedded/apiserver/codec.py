"""Between objects and stored bytes.

A stored value is an object's JSON without `kind` and `apiVersion`: those differ by the version a client asks for, and
items of built-in lists do not carry them. What is sent is put together from bytes, never decoded for it.
"""

from __future__ import annotations

import msgspec

from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.store import Record, Store

_decode = msgspec.json.Decoder().decode
_encoder = msgspec.json.Encoder()
encode = _encoder.encode


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _OnlyMetadata(msgspec.Struct):
    metadata: _Metadata


_decode_metadata = msgspec.json.Decoder(_OnlyMetadata).decode


def head_of(type_: ResourceType) -> bytes:
    """What precedes a stored value (without its first brace) when an object is sent by itself."""
    return b'{"kind":%s,"apiVersion":%s,' % (encode(type_.kind), encode(type_.api_version))


def encode_value(obj: Object) -> bytes:
    """The stored form of an object."""
    value = {"metadata": obj["metadata"]}
    for key, part in obj.items():
        if key not in ("kind", "apiVersion", "metadata"):
            value[key] = part
    return encode(value)


def decode_value(type_: ResourceType, value: bytes) -> Object:
    """The object, in the version of `type_`, from its stored form."""
    obj: Object = {"kind": type_.kind, "apiVersion": type_.api_version}
    obj.update(_decode(value))
    if type_.from_storage is not None:
        obj = type_.from_storage(obj)
        obj["kind"], obj["apiVersion"] = type_.kind, type_.api_version
    return obj


def read(type_: ResourceType, store: Store, record: Record) -> Object:
    return decode_value(type_, store.value(record))


def labels_of(value: bytes) -> dict[str, str]:
    """An object's labels, read without decoding the rest."""
    return _decode_metadata(value).metadata.labels or {}


def sent_bytes(type_: ResourceType, head: bytes, value: bytes) -> bytes:
    """An object as it is sent by itself."""
    if type_.from_storage is not None:
        return encode(decode_value(type_, value))
    return head + value[1:]
