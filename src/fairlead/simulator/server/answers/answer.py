"""What all forms of an answer share: who it is for, its options, how tokens are counted and how bytes are framed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from fairlead.simulator.server.answers.outcome import alternatives, logprob_of
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.text.tokens import Tokenizer
from fairlead.simulator.server.text.words import Words

DONE = b"data: [DONE]\n\n"
encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How an answer is shown."""

    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    return_token_ids: bool = False
    tokens_as_ids: bool = False
    echo: str | None = None
    """None: no echo."""
    echo_only: bool = False
    cached_tokens_shown: bool = False


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What every event of an answer repeats. `created_s` is whole seconds since the epoch."""

    id: str
    created_s: int
    model: str
    fingerprint: str


class Answer(Protocol):
    """One response, streamed or whole. Token ranges are of the sequence at `index` among the response's sequences."""

    cached_tokens: int
    """Prompt tokens that were found in the cache; set before the end."""
    kv_transfer_params: dict[str, Any] | None
    """Where the KV cache is to be fetched; set before the end."""

    def opening(self) -> bytes:
        """Events before the first token."""
        ...

    def tokens(self, index: int, start: int, stop: int) -> bytes:
        """The event that brings tokens `start` to `stop`, with the end if those are the last; may be empty."""
        ...

    def closing(self) -> bytes:
        """Events after all sequences have ended."""
        ...

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        ...

    def failed(self, content: dict[str, Any]) -> bytes:
        """The events that end a stream with an error."""
        ...


class Transcript:
    """Tokens of answers one by one, for log probabilities; made only when a request wants them."""

    def __init__(self, tokenizer: Tokenizer, words: Words, *, as_ids: bool) -> None:
        self._tokenizer = tokenizer
        self._words = words
        self._as_ids = as_ids
        self._pieces: dict[int, list[str]] = {}  # place of a sequence in the response -> its tokens

    def shown(self, token: int, piece: str) -> str:
        return f"token_id:{token}" if self._as_ids else piece

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return self._tokenizer.pieces(ids)

    def pieces_of(self, index: int, ids: Sequence[int]) -> list[str]:
        """All tokens of a sequence's answer."""
        if index not in self._pieces:
            self._pieces[index] = self.pieces(ids)
        return self._pieces[index]

    def ranked(self, seed: int, position: int, token: int, piece: str, count: int) -> list[tuple[int, str, float]]:
        """(id, text, log probability) of the token that was generated and `count` - 1 others, best first."""
        ranked = [(token, self.shown(token, piece), logprob_of(seed, position))]
        others = (each for each in alternatives(seed, position, count, self._words.rest) if each[0] != token)
        for rank, (other, text) in enumerate(others, 2):
            if rank > count:
                break
            ranked.append((other, self.shown(other, text), logprob_of(seed, position, rank)))
        return ranked

    def prompt_logprobs(self, ids: Sequence[int], count: int) -> list[dict[str, Any] | None]:
        """vLLM's `prompt_logprobs`: for every prompt token its own and the best others; nothing for the first."""
        pieces = self.pieces(ids)
        result: list[dict[str, Any] | None] = [None]
        for position in range(1, len(ids)):
            entry: dict[str, Any] = {}
            for rank, (other, text) in enumerate(alternatives(ids[position], position, count, self._words.rest), 1):
                entry[str(other)] = {
                    "logprob": logprob_of(ids[position], position, rank),
                    "rank": rank,
                    "decoded_token": text,
                }
            own = {
                "logprob": logprob_of(ids[position], position, count + 1),
                "rank": count + 1,
                "decoded_token": pieces[position],
            }
            result.append({str(ids[position]): own, **{k: v for k, v in entry.items() if k != str(ids[position])}})
        return result


def usage_of(requests: Sequence[LiveRequest], tokens: int, *, details: bool, cached_tokens: int = 0) -> dict[str, Any]:
    """`tokens` generated for requests, of which those with the same prompt count it once."""
    prompt_tokens = sum(request.prompt_tokens for request in requests[:: requests[0].n])
    usage: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + tokens,
        "completion_tokens": tokens,
    }
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": cached_tokens}
    return usage


def event(content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(content) + b"\n\n"


def named_event(content: dict[str, Any]) -> bytes:
    """One server-sent event with its type as the event's name."""
    return b"event: " + str(content["type"]).encode() + b"\n" + event(content)
