"""Protobuf request bodies of built-in kinds, as Go clients (kubectl among them) send them. Answers are always JSON."""

from fairlead.embedded.apiserver.protobuf.decode import MEDIA_TYPE, UndecodableObject, decode_body

__all__ = ["MEDIA_TYPE", "UndecodableObject", "decode_body"]
