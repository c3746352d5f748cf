"""A chat with a served model over the OpenAI HTTP API, streamed."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class ChatFailed(Exception):
    """The gateway or the engine refused or broke off; `status` is the HTTP status, 0 where there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


def stream_answer(
    gateway: str, model: str, messages: list[Message], *, max_tokens: int, timeout_s: float
) -> Iterator[str]:
    """Pieces of the answer's text as they arrive. Raises ChatFailed; a stream that ends early is a failure too."""
    parts = urlsplit(gateway)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
    body = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in messages],
        "stream": True,
        "max_tokens": max_tokens,
    }
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise ChatFailed(_error_text(response), response.status)
        yield from _pieces(response)
    except (OSError, http.client.HTTPException) as error:
        raise ChatFailed(f"no answer from {gateway}: {error}") from error
    finally:
        connection.close()


def _pieces(response: http.client.HTTPResponse) -> Iterator[str]:
    for raw in response:
        line = raw.strip()
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            raise ChatFailed(str(event["error"].get("message", event["error"])))
        for choice in event.get("choices", ()):
            text = choice.get("delta", {}).get("content")
            if text:
                yield text
    raise ChatFailed("the stream ended before the answer did: the engine or the gateway stopped")


def list_models(gateway: str, timeout_s: float = 5.0) -> list[str]:
    """Names of the models that the gateway serves. Raises ChatFailed."""
    parts = urlsplit(gateway)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        if response.status != 200:
            raise ChatFailed(_error_text(response), response.status)
        return [str(m["id"]) for m in json.loads(response.read())["data"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise ChatFailed(f"no answer from {gateway}: {error}") from error
    finally:
        connection.close()


def _error_text(response: http.client.HTTPResponse) -> str:
    text = response.read().decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status}: {text[:300]}"
