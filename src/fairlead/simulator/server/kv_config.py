"""Where and how KV cache events are published: vLLM's `--kv-events-config`."""

from __future__ import annotations

import msgspec


class KvEventsError(ValueError):
    """A `--kv-events-config` that cannot be used; the message names the field."""


class KvEventsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON of vLLM's `--kv-events-config`."""

    enable_kv_cache_events: bool = True
    publisher: str = "zmq"
    endpoint: str = "tcp://*:5557"
    replay_endpoint: str | None = None
    buffer_steps: int = 10_000
    hwm: int = 100_000
    max_queue_size: int = 100_000
    topic: str = ""


def parse_kv_events(text: str) -> KvEventsConfig | None:
    """The configuration, or None where it switches events off. Raises KvEventsError."""
    try:
        config = msgspec.json.decode(text, type=KvEventsConfig)
    except msgspec.DecodeError as error:
        raise KvEventsError(f"--kv-events-config: {error}") from error
    if config.publisher not in ("zmq", "null"):
        raise KvEventsError(f"--kv-events-config: publisher is {config.publisher!r}, take zmq or null")
    return config if config.enable_kv_cache_events and config.publisher == "zmq" else None
