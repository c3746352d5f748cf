"""Prefill on one engine, decode on another: `kv_transfer_params`, and the side channel between simulated engines.

A prefill engine that is told `do_remote_decode` generates one token, keeps its KV cache and answers where it is. A
decode engine that gets these parameters back (`do_remote_prefill`) asks the prefill engine over the side channel
whether it still has the cache, fetches it in simulated time, and lets it be released when its first token is there.

The side channel is TCP on `remote_host`:`remote_port`; each line is a JSON object, `{"read": id}` or
`{"release": id}`, answered by `{"held": true or false}`.
Reference for fields and behaviour: vLLM 0.32, `kv_transfer/kv_connector/v1/nixl`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from fairlead.simulator.engine import State
from fairlead.simulator.server.answers.answer import Answer
from fairlead.simulator.server.bodies.errors import ApiError
from fairlead.simulator.server.composer import Composed
from fairlead.simulator.server.driver import Live

_NEEDED = ("remote_block_ids", "remote_engine_id", "remote_request_id", "remote_host", "remote_port")
_TIMEOUT_S = 5.0
_MAX_LINE_BYTES = 64 * 1024


class Handoff:
    """One engine's part in hand-offs. `release` gives a held cache back to the engine."""

    def __init__(
        self,
        release: Callable[[Live], None],
        *,
        role: str,
        engine_id: str,
        block_tokens: int,
        num_blocks: int,
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        failure_policy: str = "fail",
    ) -> None:
        self._release = release
        self._role = role
        self._engine_id = engine_id
        self._block_tokens = block_tokens
        self._num_blocks = num_blocks
        self._tp_size = tensor_parallel_size
        self._pp_size = pipeline_parallel_size
        self._failure_policy = failure_policy
        self._held: dict[str, Live] = {}  # request id -> the finished prefill
        self._next_block = itertools.count()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ("", 0)

    async def listen(self, host: str, port: int) -> None:
        """Open the side channel. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_MAX_LINE_BYTES)
        self.address = (host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()

    async def prepare(self, composed: Composed) -> None:
        """Before a request goes into the engine. Raises ApiError when its remote KV cache cannot be had."""
        params = composed.kv_transfer_params
        if not params or self._server is None:
            return
        if params.get("do_remote_decode") and self._role != "decode":
            for request in composed.requests:
                request.hold_kv = True
                # A prefill engine generates the one token that the prompt gives.
                outcome = request.outcome
                outcome.ids, outcome.texts = outcome.ids[:1], outcome.texts[:1]
                outcome.finish_reason, outcome.stop_reason = "length", None
                request.output_tokens = 1
        elif params.get("do_remote_prefill") and self._role != "prefill":
            if any(params.get(name) is None for name in _NEEDED):
                return
            if await self._ask(params, "read"):
                for request in composed.requests:
                    request.remote_kv = True
            elif self._failure_policy == "fail":
                raise ApiError(500, "Internal server error", type="InternalServerError")

    def finished(self, composed: Composed, lives: Sequence[Live], answer: Answer) -> None:
        """After a request's last token: say where the cache is, or that it was fetched."""
        params = composed.kv_transfer_params
        if not params or self._server is None:
            return
        if lives and lives[0].request.hold_kv:
            answer.kv_transfer_params = self._where(lives[0])
        elif lives and lives[0].request.remote_kv:
            task = asyncio.get_running_loop().create_task(self._say_release(params))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _where(self, live: Live) -> dict[str, Any]:
        request = live.request
        held = live.sequence.state is State.HELD
        self._held = {name: each for name, each in self._held.items() if each.sequence.state is State.HELD}
        if held:
            self._held[str(request.id)] = live
        blocks = -(-request.prompt_tokens // self._block_tokens) if held else 0
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [[next(self._next_block) % self._num_blocks for _ in range(blocks)]],
            "remote_engine_id": self._engine_id,
            "remote_request_id": str(request.id),
            "remote_host": self.address[0],
            "remote_port": self.address[1],
            "tp_size": self._tp_size,
            "dcp_size": 1,
            "pp_size": self._pp_size,
            "remote_num_tokens": request.prompt_tokens if held else 0,
            "remote_blocks_expiry_time": None,
            "transfer_mode": "pull",
        }

    async def _ask(self, params: dict[str, Any], what: str) -> bool:
        """Whether the prefill engine holds the cache; False also when it cannot be reached."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(params["remote_host"], params["remote_port"])
                try:
                    writer.write(msgspec.json.encode({what: params["remote_request_id"]}) + b"\n")
                    answer = msgspec.json.decode(await reader.readline())
                    return bool(answer["held"])
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.DecodeError, TypeError, KeyError, ValueError):
            return False

    async def _say_release(self, params: dict[str, Any]) -> None:
        await self._ask(params, "release")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError, asyncio.IncompleteReadError, msgspec.DecodeError):
            while line := await reader.readline():
                message = msgspec.json.decode(line)
                writer.write(msgspec.json.encode({"held": self._handle(message)}) + b"\n")
                await writer.drain()
        writer.close()

    def _handle(self, message: Any) -> bool:
        if not isinstance(message, dict):
            return False
        if "release" in message:
            live = self._held.pop(str(message["release"]), None)
            if live is None or live.sequence.state is not State.HELD:
                return False
            self._release(live)
            return True
        live = self._held.get(str(message.get("read")))
        return live is not None and live.sequence.state is State.HELD
