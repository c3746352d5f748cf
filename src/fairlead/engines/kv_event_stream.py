"""The stream that carries cache events: its frames, topics, endpoints of ranks, and the replay of lost messages.

A publisher numbers its messages from 0 without gaps. A subscriber that sees a gap sends an empty frame and the first
number it lacks (8 bytes, big-endian) from a DEALER socket to the replay endpoint. It gets every message from there on
that the publisher still holds, then one with the number -1 (`REPLAY_END`). A number smaller than expected means that
the engine started anew.

Protocol: `ZmqEventPublisher` of vLLM 0.32 and SGLang 0.5. Replayed messages have three frames (vLLM) or two, without
the topic (SGLang, older vLLM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.engines.kv_events import KvEventError

DEFAULT_ENDPOINT = "tcp://*:5557"
SEQUENCE_BYTES = 8
REPLAY_END = (-1).to_bytes(SEQUENCE_BYTES, "big", signed=True)
"""Sequence frame of the message that ends a replay."""

_TOPIC_PREFIX = "kv"


@dataclass(frozen=True, slots=True)
class KvMessage:
    """One published message; its payload is for `decode_batch`, its topic None where a replay leaves it out."""

    topic: str | None
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class KvTopic:
    """Whose cache a topic is about: `kv@<ip:port>@<model>`, the convention of llm-d."""

    address: str
    model: str

    def __str__(self) -> str:
        return f"{_TOPIC_PREFIX}@{self.address}@{self.model}"


def parse_topic(topic: str) -> KvTopic:
    """The address and model in a topic; the model may itself contain `@`. Raises KvEventError."""
    prefix, _, rest = topic.partition("@")
    address, separator, model = rest.partition("@")
    if prefix != _TOPIC_PREFIX or not separator or not address or not model:
        raise KvEventError(f"topic {topic!r} is not kv@ip:port@model")
    return KvTopic(address, model)


def message_frames(message: KvMessage) -> tuple[bytes, bytes, bytes]:
    """The frames that publish a message."""
    return (message.topic or "").encode(), sequence_bytes(message.sequence), message.payload


def read_message(frames: Sequence[bytes]) -> KvMessage:
    """A message off a SUB socket. Raises KvEventError."""
    if len(frames) != 3:
        raise KvEventError(f"a message of cache events has 3 frames (topic, sequence, payload), this one {len(frames)}")
    topic, sequence, payload = frames
    return KvMessage(topic.decode("utf-8", "replace"), _sequence(sequence), payload)


def read_replay(frames: Sequence[bytes]) -> KvMessage | None:
    """A message off a replay socket, None for the one that ends the replay. Raises KvEventError.

    The number and the payload are the last two frames. Before them may stand a topic, and before that the empty frame
    that a DEALER socket sees.
    """
    if len(frames) not in (2, 3, 4):
        raise KvEventError(f"a replayed message has 2 to 4 frames, this one {len(frames)}")
    if frames[-2] == REPLAY_END:
        return None
    topic = frames[-3].decode("utf-8", "replace") if len(frames) > 2 and frames[-3] else None
    return KvMessage(topic, _sequence(frames[-2]), frames[-1])


def sequence_bytes(sequence: int) -> bytes:
    """A sequence number on the wire; also the whole of a replay request, which starts at that number."""
    return sequence.to_bytes(SEQUENCE_BYTES, "big")


def rank_endpoint(endpoint: str, rank: int) -> str:
    """Where a data-parallel rank publishes: a TCP port grows by the rank, an in-process name gets a suffix.

    Raises ValueError for an endpoint that has neither.
    """
    if rank == 0:
        return endpoint
    scheme, _, rest = endpoint.partition("://")
    if scheme == "inproc":
        return f"{endpoint}_dp{rank}"
    host, separator, port = rest.rpartition(":")
    if scheme != "tcp" or not separator or not port.isdigit():
        raise ValueError(f"endpoint {endpoint!r} of several ranks: take tcp://host:port or inproc://name")
    # Port 0 is the operating system's choice for every rank.
    return endpoint if port == "0" else f"tcp://{host}:{int(port) + rank}"


def _sequence(frame: bytes) -> int:
    if len(frame) != SEQUENCE_BYTES:
        raise KvEventError(f"a sequence number has {SEQUENCE_BYTES} bytes, this one {len(frame)}")
    return int.from_bytes(frame, "big")
