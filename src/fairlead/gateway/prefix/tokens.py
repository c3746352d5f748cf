"""How many tokens a prompt has, and which: exactly where that can be known, and never on the event loop.

- A prompt that the client sent as tokens is exact.
- Text (`/v1/completions`) is exact with the model's own `tokenizer.json`, once the engine has confirmed that it makes
  the same tokens (`confirm`): what stands in a model's folder need not be what the engine does with it.
- A conversation becomes text by a chat template, with defaults, tools and options of the engine; the engine alone knows
  it. `EngineTokens` asks it (vLLM's `/tokenize`), which costs a call to the engine before the pick. Otherwise, and
  where a conversation has images, there is an estimate.

Who gets an `EstimatedTokens` matches blocks of text instead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import numpy as np
from numpy.typing import NDArray

from fairlead.gateway.prefix.blocks import TOKEN_BYTES, token_array
from fairlead.gateway.prefix.text_tokenizer import TextTokenizer, TokenizerError

TIMEOUT_S = 1.0
MAX_WAITING = 64
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_INLINE_CHARACTERS = 128
"""Tokenised at once: less work than handing it to a thread."""
_CHAT_FIELDS = (
    "model", "messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template",
    "chat_template_kwargs", "mm_processor_kwargs",
)  # fmt: skip
_PROBE = "Tokens of a text, e.g. naïve  code:\n\tx = 12345; it's <b>你好</b>"


@dataclass(frozen=True, slots=True)
class ExactTokens:
    """What the engine will compute."""

    token_ids: NDArray[np.uint32]
    source: Literal["client", "tokenizer", "engine"]

    @property
    def count(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class EstimatedTokens:
    """Nothing but a number, from the length of the text."""

    count: int
    reason: str


PromptTokens = ExactTokens | EstimatedTokens


def estimate(size_bytes: int, reason: str, token_bytes: float = TOKEN_BYTES) -> EstimatedTokens:
    """From the size of the prompt's text."""
    return EstimatedTokens(max(1, round(size_bytes / token_bytes)) if size_bytes else 0, reason)


class Tokenization:
    """The tokenizers of a gateway's models, and the threads they run in; belongs to the running event loop."""

    def __init__(self, *, threads: int = 1, max_waiting: int = MAX_WAITING, timeout_s: float = TIMEOUT_S) -> None:
        self._pool = ThreadPoolExecutor(threads, "tokenizer")
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._waiting = 0
        self._tokenizers: dict[str, TextTokenizer] = {}
        self._confirmed: set[str] = set()

    @property
    def models(self) -> list[str]:
        """Models whose tokens are exact."""
        return sorted(self._confirmed)

    def is_exact(self, model: str) -> bool:
        """Whether the tokens of texts for this model are those that its engine computes."""
        return model in self._confirmed

    async def load(self, model: str, path: Path) -> None:
        """Read a `tokenizer.json`; what it says is an estimate until `confirm`. Raises TokenizerError."""
        loop = asyncio.get_running_loop()
        tokenizer = await loop.run_in_executor(self._pool, TextTokenizer, path)
        self._confirmed.discard(model)
        self._tokenizers[model] = tokenizer

    async def confirm(self, model: str, engine: EngineTokens, address: str) -> bool:
        """Compare a hard text with what an engine makes of it; one that cannot say does not confirm."""
        tokenizer = self._tokenizers.get(model)
        theirs = await engine.text(address, model, _PROBE)
        if tokenizer is None or not isinstance(theirs, ExactTokens):
            return False
        try:
            ours = tokenizer.encode(_PROBE)
        except TokenizerError:
            return False
        if not np.array_equal(ours, theirs.token_ids):
            self._confirmed.discard(model)
            return False
        self._confirmed.add(model)
        return True

    def drop(self, model: str) -> None:
        """The model is served no more."""
        self._tokenizers.pop(model, None)
        self._confirmed.discard(model)

    async def text(self, model: str, text: str) -> PromptTokens:
        """The prompt of a completion. Waits at most for the timeout, and behind at most `max_waiting` others."""
        tokenizer = self._tokenizers.get(model) if model in self._confirmed else None
        if tokenizer is None:
            return estimate(len(text), "no confirmed tokenizer")
        try:
            if len(text) <= _INLINE_CHARACTERS:
                return ExactTokens(tokenizer.encode(text), "tokenizer")
            if self._waiting >= self._max_waiting:
                return estimate(len(text), "tokenizers are busy")
            self._waiting += 1
            work = self._pool.submit(tokenizer.encode, text)
            loop = asyncio.get_running_loop()
            # A text that is given up may still be worked on; it counts until that ends.
            work.add_done_callback(lambda _: _soon(loop, self._done))
            async with asyncio.timeout(self._timeout_s):
                return ExactTokens(await asyncio.wrap_future(work), "tokenizer")
        except TimeoutError:
            return estimate(len(text), f"not tokenised within {self._timeout_s:g} s")
        except TokenizerError as error:
            return estimate(len(text), str(error))

    def close(self) -> None:
        """Let the threads end; what waits is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self) -> None:
        self._waiting -= 1


class EngineTokens:
    """Asks engines which tokens they would compute: `POST /tokenize` of vLLM and the simulated engine."""

    def __init__(self, session: aiohttp.ClientSession, *, timeout_s: float = TIMEOUT_S) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def text(self, address: str, model: str, text: str) -> PromptTokens:
        """The prompt of a completion."""
        return await self._ask(address, {"model": model, "prompt": text}, len(text))

    async def chat(self, address: str, body: Mapping[str, Any], size_bytes: int) -> PromptTokens:
        """A conversation, as in the body of `/v1/chat/completions`; `size_bytes` is for the estimate."""
        if not _is_text(body.get("messages")):
            return estimate(size_bytes, "a conversation with parts that are not text")
        return await self._ask(address, {name: body[name] for name in _CHAT_FIELDS if name in body}, size_bytes)

    async def _ask(self, address: str, body: Mapping[str, Any], size_bytes: int) -> PromptTokens:
        try:
            async with self._session.post(
                f"http://{address}/tokenize", json=body, timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    return estimate(size_bytes, f"{address} answers /tokenize with {response.status}")
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > MAX_ANSWER_BYTES:
                        return estimate(size_bytes, f"{address} answers /tokenize with over {MAX_ANSWER_BYTES} bytes")
            tokens = token_array(json.loads(raw)["tokens"])
            if tokens.ndim != 1:
                raise ValueError("a list of lists")
            return ExactTokens(tokens, "engine")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return estimate(size_bytes, f"{address} does not tokenise: {error or type(error).__name__}")
        except (ValueError, LookupError, TypeError, OverflowError):
            return estimate(size_bytes, f"{address} answers /tokenize without tokens")


def _soon(loop: asyncio.AbstractEventLoop, call: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


def _is_text(messages: Any) -> bool:
    """Whether no message has a part whose content tokens do not tell, as of images."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(not isinstance(p, dict) or p.get("type") != "text" for p in content):
            return False
    return isinstance(messages, list)
