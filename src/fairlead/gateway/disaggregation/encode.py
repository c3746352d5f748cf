"""The encode leg: pictures and recordings of a chat are turned into embeddings by encode engines, before its prompt is
computed.

Each part is sent as a chat of its own with one token to generate; the engines pass the embeddings on between themselves
(vLLM's encoder cache connector), and where an answer has `ec_transfer_params` the next leg's body gets them. An encoder
that fails costs time and nothing else: the engine that computes the prompt encodes what it does not find.
Protocol: vLLM 0.32, `disaggregated_encoder`; llm-d-router, `pkg/sidecar/proxy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from fairlead.gateway.disaggregation.post import Attempt, LegFailed, LegRefused, Poster, sent_headers
from fairlead.gateway.requests import set_fields, top_level

MAX_PARTS: Final = 32
"""Parts beyond these are left to the engine that computes the prompt; a body may name thousands."""

_PATH: Final = "/v1/chat/completions"

_TYPES: Final = frozenset(("image_url", "input_audio", "audio_url", "video_url"))
"""Parts that a chat may have; those of other APIs have a form of their own, which encoders do not take."""


class _Part(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    content: Raw = Raw()


_messages = msgspec.json.Decoder(list[_Message])
_raws = msgspec.json.Decoder(list[Raw])
_parts = msgspec.json.Decoder(list[_Part])


class Encoded(NamedTuple):
    """What became of the encode leg."""

    body: bytes
    """For the next leg."""
    encoded: int
    """Parts that an encode engine has done."""
    failures: tuple[str, ...]


def media_parts(messages: Raw) -> list[Raw]:
    """The parts of a chat's messages that are no text, each once, as they stand in it."""
    found: dict[bytes, Raw] = {}
    try:
        for message in _messages.decode(messages):
            if message.content and memoryview(message.content)[0] == ord("["):
                kinds = _parts.decode(message.content)
                for kind, raw in zip(kinds, _raws.decode(message.content), strict=True):
                    if kind.type in _TYPES:
                        found.setdefault(bytes(raw), raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []  # The engine will say what is wrong with it.
    return list(found.values())


def encode_body(fields: Mapping[str, Raw], part: Raw) -> bytes:
    """The encode engine's request for one part."""
    kept = {name: fields[name] for name in ("model", "mm_processor_kwargs", "cache_salt") if name in fields}
    request: dict[str, Any] = {
        **kept, "messages": [{"role": "user", "content": [part]}], "max_tokens": 1, "stream": False,
    }  # fmt: skip
    return msgspec.json.encode(request)


class EncodeLegs:
    """Runs encode legs. One event loop owns it."""

    def __init__(self, connect_s: float = 2.0, answer_s: float = 30.0) -> None:
        self._post = Poster(connect_s, answer_s)

    async def close(self) -> None:
        await self._post.close()

    async def run(self, body: bytes, headers: Mapping[str, str], encoders: Sequence[str]) -> Encoded:
        """Have the chat's parts encoded by these endpoints in turn. Cancel it when the client leaves.

        Raises BadBody for a body that is no JSON object.
        """
        fields = top_level(body)
        parts = media_parts(fields["messages"])[:MAX_PARTS] if "messages" in fields and encoders else []
        if not parts:
            return Encoded(body, 0, ())
        name = headers.get("x-request-id", "encode")
        tasks = [
            asyncio.ensure_future(self._encode(encode_body(fields, part), headers, encoders, number, name))
            for number, part in enumerate(parts)
        ]
        try:
            outcomes = await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        params: dict[str, Any] = {}
        for outcome in outcomes:
            if isinstance(outcome, dict):
                params.update(outcome)
        failures = tuple([outcome for outcome in outcomes if isinstance(outcome, str)])
        changed = set_fields(body, {"ec_transfer_params": params}) if params else body
        return Encoded(changed, len(parts) - len(failures), failures)

    async def _encode(
        self, body: bytes, headers: Mapping[str, str], encoders: Sequence[str], number: int, name: str
    ) -> dict[str, Any] | str:
        """What the answer says of where the embeddings are, or why there is none. Two encoders are tried."""
        sent = {**sent_headers(headers), "x-request-id": f"{name}-enc-{number}"}
        reason = ""
        for shift in range(min(2, len(encoders))):
            address = encoders[(number + shift) % len(encoders)]
            try:
                answer = await self._post.answer(Attempt(address, _PATH, sent), body, lambda: True, 1.0)
                params = msgspec.json.decode(answer).get("ec_transfer_params")
                return params if isinstance(params, dict) else {}
            except LegRefused as error:
                return f"{address}: {error}"
            except (LegFailed, msgspec.DecodeError, AttributeError, ValueError, RecursionError) as error:
                reason = f"{address}: {error}"
        return reason
