"""KV cache events of a live engine, published over ZeroMQ as vLLM publishes them.

One publisher per data-parallel rank, its ports shifted by the rank. What one iteration changed is one message; the last
`buffer_steps` messages can be asked for again on the replay socket.
Protocol: vLLM 0.32 `distributed/kv_events.py::ZmqEventPublisher`; wire forms in `fairlead.engines.kv_events`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.clock import Clock
from fairlead.engines.kv_event_stream import (
    REPLAY_END,
    KvMessage,
    message_frames,
    rank_endpoint,
)
from fairlead.engines.kv_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    Form,
    KvEvent,
    KvEventBatch,
    encode_batch,
)
from fairlead.simulator.engine import HASH_BYTES, Request
from fairlead.simulator.server.kv_config import KvEventsConfig
from fairlead.simulator.server.live_request import LiveRequest

_MEDIUM = "GPU"


class KvPublisher:
    """Collects the events of one rank's engine (`BlockObserver`) and sends them at `flush`."""

    def __init__(
        self,
        config: KvEventsConfig,
        rank: int,
        clock: Clock,
        *,
        block_tokens: int,
        form: Form = "map",
        adapter_number: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._config = config
        self._rank = rank
        self._clock = clock
        self._block_tokens = block_tokens
        self._form: Form = form
        self._adapter_number = adapter_number
        self._events: list[KvEvent] = []
        self._number = 0
        self._sent: deque[KvMessage] = deque(maxlen=config.buffer_steps)
        self._publish: Any = None
        self._replay: Any = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Open the sockets. Raises OSError when an address is taken or malformed."""
        import zmq
        import zmq.asyncio

        context: Any = zmq.Context.instance()
        config = self._config
        address = rank_endpoint(config.endpoint, self._rank)
        try:
            self._publish = context.socket(zmq.PUB)
            self._publish.set_hwm(config.hwm)
            _attach(self._publish, address)
            if config.replay_endpoint is not None:
                address = rank_endpoint(config.replay_endpoint, self._rank)
                self._replay = zmq.asyncio.Context.shadow(context.underlying).socket(zmq.ROUTER)
                self._replay.bind(address)
                self._task = asyncio.get_running_loop().create_task(self._serve_replays())
        except zmq.ZMQError as error:
            raise OSError(error.errno, error.strerror, f"KV events of rank {self._rank} at {address}") from error

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for socket in (self._publish, self._replay):
            if socket is not None:
                socket.close(linger=0)

    def source(self) -> Mapping[str, Any]:
        """Its entry in /kv_event_sources."""
        config = self._config
        replay = config.replay_endpoint
        return {
            "enable_kv_cache_events": True,
            "publisher": config.publisher,
            "endpoint": rank_endpoint(config.endpoint, self._rank),
            "replay_endpoint": None if replay is None else rank_endpoint(replay, self._rank),
            "buffer_steps": config.buffer_steps,
            "hwm": config.hwm,
            "max_queue_size": config.max_queue_size,
            "topic": config.topic,
        }

    def stored(self, request: Request, start_block: int, stop_block: int) -> None:
        """See `BlockObserver.stored`."""
        hashes = _hashes(request.chain[start_block * HASH_BYTES : stop_block * HASH_BYTES])
        parent = request.chain[(start_block - 1) * HASH_BYTES : start_block * HASH_BYTES] if start_block else b""
        size = self._block_tokens
        tokens: tuple[int, ...] = ()
        extra: tuple[str, ...] = ()
        if isinstance(request, LiveRequest):
            tokens = _tokens(request, start_block * size, stop_block * size)
            extra = tuple(key for key in (request.adapter, request.salt if not start_block else "") if key)
        keys: list[tuple[str, ...] | None] = [tuple(key for key in (request.adapter,) if key) or None for _ in hashes]
        if extra:
            keys[0] = extra
        self._events.append(
            BlockStored(
                block_hashes=hashes,
                parent_block_hash=int.from_bytes(parent, "big") if parent else None,
                token_ids=tokens,
                block_size=size,
                lora_id=self._adapter_number(request.adapter) if request.adapter else None,
                medium=_MEDIUM,
                lora_name=request.adapter or None,
                extra_keys=tuple(keys),
                group_idx=0,
                kv_cache_spec_kind="full_attention",
            )
        )

    def removed(self, hashes: bytes) -> None:
        """See `BlockObserver.removed`."""
        self._events.append(BlockRemoved(block_hashes=_hashes(hashes), medium=_MEDIUM, group_idx=0))

    def cleared(self) -> None:
        """See `BlockObserver.cleared`."""
        self._events.append(AllBlocksCleared())

    def flush(self) -> None:
        """Send what has come together as one message."""
        if not self._events or self._publish is None:
            return
        batch = KvEventBatch(self._clock.wall_s(), tuple(self._events), self._rank)
        self._events.clear()
        message = KvMessage(self._config.topic, self._number, encode_batch(batch, self._form))
        self._number += 1
        self._sent.append(message)
        self._publish.send_multipart(message_frames(message))

    async def _serve_replays(self) -> None:
        while True:
            frames = await self._replay.recv_multipart()
            if len(frames) != 3 or len(frames[2]) != len(REPLAY_END):
                continue  # not a request: vLLM ignores it, too
            client, first = frames[0], int.from_bytes(frames[2], "big")
            for message in tuple(self._sent):
                if message.sequence >= first:
                    frame = (client, b"", *message_frames(message))
                    await self._replay.send_multipart(frame)
            await self._replay.send_multipart((client, b"", b"", REPLAY_END, b""))


def _attach(socket: Any, endpoint: str) -> None:
    """Bind wildcards and local names, connect to anything else: vLLM's rule."""
    if "*" in endpoint or "::" in endpoint or endpoint.startswith(("ipc://", "inproc://")):
        socket.bind(endpoint)
    else:
        socket.connect(endpoint)


def _hashes(hashes: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(hashes[at : at + HASH_BYTES], "big") for at in range(0, len(hashes), HASH_BYTES))


def _tokens(request: LiveRequest, start: int, stop: int) -> tuple[int, ...]:
    """Tokens of the sequence, prompt and answer."""
    prompt = request.prompt_ids
    if stop <= len(prompt):
        return tuple(prompt[start:stop])
    answer = request.outcome.ids[max(0, start - len(prompt)) : stop - len(prompt)]
    return (*prompt[start:], *answer)
