"""Requests of each API, written ahead of time: the head up to the length, the body in pieces between which former
answers go as the content of JSON strings."""

from __future__ import annotations

import random
import secrets
from typing import Any

import msgspec

from fairlead.bench.config.target import Target, Tensor
from fairlead.bench.session import Job, PreparedTurn, Session
from fairlead.bench.targets import bodies, tensors
from fairlead.bench.targets.address import PATHS, head, headers_of, split
from fairlead.bench.targets.raw_writing import RawTemplate
from fairlead.bench.targets.sending import Sending, Server, sending
from fairlead.bench.wire import Peer

_encode = msgspec.json.Encoder().encode

STREAMS = frozenset(("chat", "completions", "responses", "messages", "triton-generate", "raw"))
MOST_TOKENS = 4096
"""Of an answer as long as the model likes, where the API must be told (Anthropic's messages)."""

_TEXT: dict[str, bodies.BodyOf] = {
    "chat": bodies.chat,
    "completions": bodies.completions,
    "responses": bodies.responses,
    "embeddings": bodies.embeddings,
    "messages": bodies.messages,
}


class Writer:
    """Prepares the sessions of one target. `number` is the target's in the run's list, `adapters` those of the run,
    which may grow. `server` and `sent` None: the server is not known, and is sent what most take."""

    def __init__(
        self,
        target: Target,
        number: int,
        adapters: list[str],
        server: Server | None = None,
        sent: Sending | None = None,
    ) -> None:
        self._target, self._number, self._adapters = target, number, adapters
        self._sending = sent if sent is not None else sending(target, server)
        self._headers = headers_of(target)
        self._heads: dict[str, bytes] = {}  # model -> head
        self._stream = target.stream and target.api in STREAMS
        self._template = RawTemplate(target) if target.api == "raw" else None
        self._inputs = _inputs(target, server)
        self._mark = _mark()
        self._head(target.model)

    def prepare(self, session: Session, number: int, stage: int, due_s: float) -> Job:
        """All turns of a session, with places for the answers in between. Raises ValueError for text that cannot be
        written."""
        turns = [self._turn(session, turn, number) for turn in range(len(session.turns))]
        adapter = self._adapters.index(session.adapter) if session.adapter else -1
        model = session.adapter or self._target.model
        return Job(number, stage, due_s, self._number, adapter, self._head(model), turns)

    def _head(self, model: str) -> bytes:
        if model not in self._heads:
            self._heads[model] = head(self._target, model, self._headers)
        return self._heads[model]

    def _turn(self, session: Session, number: int, job: int) -> PreparedTurn:
        turn = session.turns[number]
        places = 0 if self._target.api in ("embeddings", "open-inference") else number
        pieces = self._body(session, number, job).split(self._mark.encode())
        while len(pieces) != places + 1:
            if self._is_without_prompt(pieces):
                break
            # A text has the mark in it, which nobody can have foreseen; another one it does not have.
            self._mark = _mark()
            pieces = self._body(session, number, job).split(self._mark.encode())
        return PreparedTurn(pieces, turn.prompt_tokens, turn.output_tokens or 0, turn.pause_s)

    def _is_without_prompt(self, pieces: list[bytes]) -> bool:
        """A template need not say what was asked, nor a body over which `parameters` are written."""
        return len(pieces) == 1 and (self._template is not None or bool(self._target.parameters))

    def _body(self, session: Session, number: int, job: int) -> bytes:
        target, turn = self._target, session.turns[number]
        model = session.adapter or target.model
        if self._template is not None:
            return self._template.filled(bodies.prompt(session, number, self._mark), model, turn.output_tokens)
        if target.api == "open-inference":
            text = bodies.text_of(session, number)
            body = tensors.inference(self._inputs, text, turn, random.Random(job * 1009 + number))
        elif target.api == "triton-generate":
            said = bodies.prompt(session, number, self._mark)
            body = tensors.generation(said, turn.output_tokens, self._stream, self._sending.ignore_eos, self._inputs)
        else:
            body = {"model": model, **_TEXT[target.api](session, number, self._mark), **self._options(session, number)}
        return _encode({**body, **target.parameters})

    def _options(self, session: Session, number: int) -> dict[str, Any]:
        """How long the answer is to be, and how it comes."""
        api, tokens, sent = self._target.api, session.turns[number].output_tokens, self._sending
        options: dict[str, Any] = {}
        if api == "embeddings":
            return options
        if tokens is None and api == "messages":
            tokens = MOST_TOKENS
        if tokens is not None:
            options[_length_field(api, sent)] = tokens
            if sent.ignore_eos:
                options["ignore_eos"] = True
        if self._stream:
            options["stream"] = True
            if sent.usage:
                options["stream_options"] = {"include_usage": True}
                if sent.continuous_usage:
                    options["stream_options"]["continuous_usage_stats"] = True
        return options


def _length_field(api: str, sent: Sending) -> str:
    if api == "responses":
        return "max_output_tokens"
    return sent.length_field if api == "chat" else "max_tokens"


def _inputs(target: Target, server: Server | None) -> tuple[Tensor, ...]:
    if target.tensors is not None:
        return tuple(tensors.checked(tensor) for tensor in target.tensors)
    known = server.tensors if server is not None else ()
    if target.api == "open-inference" and not known:
        raise ValueError(
            "tensors is not given and the model's inputs are not known: name them, or make the model's metadata "
            f"readable at /v2/models/{target.model}"
        )
    return known


def _mark() -> str:
    """Stands for an answer in a body before it is split there: plain letters, alike in JSON and out of it."""
    return f"answer{secrets.token_hex(16)}"


def writer(
    target: Target, number: int, adapters: list[str], server: Server | None = None, sent: Sending | None = None
) -> Writer:
    """Raises ValueError for a target that cannot be asked."""
    if target.api not in PATHS:
        raise ValueError(f"targets[{number}].api is {target.api!r}: use one of {', '.join(PATHS)}")
    return Writer(target, number, adapters, server, sent)


def peer(target: Target) -> Peer:
    """Where a worker connects to, and how it reads what comes back. Raises ValueError for an address that is none."""
    parts, tls = split(target), target.tls
    raw = target.raw if target.api == "raw" else None
    options = {"text": raw.text, "prompt_tokens": raw.prompt_tokens, "output_tokens": raw.output_tokens} if raw else {}
    return Peer(
        parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), parts.scheme == "https",
        tls.server_name or "", tls.ca_file or "", tls.client_certificate or "", tls.client_key or "", tls.insecure,
        target.api, options, target.stream and target.api in STREAMS, target.timeout_s, target.connect_timeout_s,
        target.idle_timeout_s, target.max_connections,
    )  # fmt: skip
