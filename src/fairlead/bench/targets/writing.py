"""Requests of each API, written ahead of time: the head up to the length, the body in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fairlead.bench.config.target import Target
from fairlead.bench.session import Job, PreparedTurn, Session, Turn
from fairlead.bench.wire import Peer

_encode = msgspec.json.Encoder().encode
_MARK = "\x00answer\x00"
_MARK_JSON = _encode(_MARK)[1:-1]

Body = Callable[[Session, int], dict[str, Any]]

_PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


class Writer:
    """Prepares the sessions of one target. `number` is the target's in the run's list."""

    def __init__(self, target: Target, number: int, adapters: list[str]) -> None:
        if target.api not in _PATHS:
            raise ValueError(f"targets[{number}].api is {target.api!r}: use one of {', '.join(_PATHS)}")
        self._target, self._number, self._adapters = target, number, adapters
        self._head = _head(target)

    def prepare(self, session: Session, number: int, stage: int, due_s: float) -> Job:
        """All turns of a session, with places for the answers in between."""
        turns = [self._turn(session, turn) for turn in range(len(session.turns))]
        adapter = self._adapters.index(session.adapter) if session.adapter else -1
        return Job(number, stage, due_s, self._number, adapter, self._head, turns)

    def _turn(self, session: Session, number: int) -> PreparedTurn:
        turn = session.turns[number]
        body = self._chat(session, number) if self._target.api == "chat" else self._completion(session, number)
        if turn.output_tokens is not None:
            body["max_tokens"] = turn.output_tokens
            if self._target.force_length:
                body["ignore_eos"] = True
        if self._target.stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        body["model"] = session.adapter or self._target.model
        pieces = _encode({**body, **self._target.parameters}).split(_MARK_JSON)
        return PreparedTurn(pieces, turn.prompt_tokens, turn.output_tokens or 0, turn.pause_s)

    def _chat(self, session: Session, number: int) -> dict[str, Any]:
        messages: list[dict[str, str]] = []
        for at, turn in enumerate(session.turns[: number + 1]):
            text = session.shared + turn.text if at == 0 else turn.text
            messages.append({"role": turn.role, "content": text})
            if at < number:
                messages.append({"role": "assistant", "content": _MARK})
        return {"messages": messages}

    def _completion(self, session: Session, number: int) -> dict[str, Any]:
        said: list[Turn] = session.turns[: number + 1]
        return {"prompt": session.shared + _MARK.join(turn.text for turn in said)}


def _head(target: Target) -> bytes:
    parts = urlsplit(target.url)
    path = target.path or parts.path.rstrip("/") + _PATHS[target.api]
    headers = {
        "Host": parts.netloc.rpartition("@")[2],
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }
    if (key := _key(target)) is not None:
        headers["Authorization"] = f"Bearer {key}"
    headers |= target.headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}Content-Length: ".encode()


def _key(target: Target) -> str | None:
    if target.key_env is not None:
        if target.key_env not in os.environ:
            raise ValueError(f"key_env is {target.key_env!r}, and there is no such variable: set it to the key")
        return os.environ[target.key_env]
    return Path(target.key_file).read_text().strip() if target.key_file is not None else None


def writer(target: Target, number: int, adapters: list[str]) -> Writer:
    """Raises ValueError for a target that cannot be asked."""
    return Writer(target, number, adapters)


def peer(target: Target) -> Peer:
    """Where a worker connects to. Raises ValueError for an address that is none."""
    parts = urlsplit(target.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url is {target.url!r}: write http://HOST:PORT or https://HOST:PORT")
    tls = target.tls
    return Peer(
        parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), parts.scheme == "https", "",
        tls.ca_file or "", tls.client_certificate or "", tls.client_key or "", tls.insecure, target.api, {},
        target.stream, target.timeout_s, target.connect_timeout_s, target.idle_timeout_s, target.max_connections,
    )  # fmt: skip
