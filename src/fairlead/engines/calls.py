"""Calls to a running engine as plain values: which request to send and how to read the answer. Nothing here sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fairlead.engines.spec import Adapter

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request to the engine's own port; `body` is JSON, None for no body."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    body: Any = None


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What an engine said to a call. `unchanged`: it was so before (loaded already, or not there to unload)."""

    state: Literal["done", "unchanged", "failed"]
    reason: str = ""
    """The engine's own words, where it did not simply do as told."""

    @property
    def holds(self) -> bool:
        """Whether the engine is now as the call wanted it."""
        return self.state != "failed"


class AdapterApi(Protocol):
    """Loading and unloading of LoRA adapters in a running engine."""

    def load(self, adapter: Adapter) -> HttpCall: ...

    def unload(self, name: str) -> HttpCall: ...

    def model_field(self, model: str, name: str) -> str:
        """What requests for adapter `name` of base model `model` say in their field `model`."""
        ...

    def loaded(self, status: int, body: bytes) -> CallOutcome:
        """How the answer to a load reads."""
        ...

    def unloaded(self, status: int, body: bytes) -> CallOutcome:
        """How the answer to an unload reads."""
        ...


class SleepApi(Protocol):
    """Giving the accelerator's memory back without ending the process."""

    def sleep(self) -> HttpCall: ...

    def wake(self) -> HttpCall: ...


def message_of(body: bytes) -> str:
    """The engine's words in an error body: OpenAI's `error.message`, `message`, `error`, or the start of the text."""
    try:
        decoded = json.loads(body)
    except ValueError:
        return body[:500].decode("utf-8", "replace").strip()
    if not isinstance(decoded, dict):
        return str(decoded)[:500]
    error = decoded.get("error", decoded)
    if isinstance(error, dict):
        error = error.get("message") or error.get("error_message") or error
    return str(error)[:500]


def plain_outcome(status: int, body: bytes, unchanged: tuple[str, ...] = ()) -> CallOutcome:
    """Done for 2xx; unchanged where the message has one of the phrases; else failed."""
    if 200 <= status < 300:
        return CallOutcome("done")
    message = message_of(body)
    if any(phrase in message for phrase in unchanged):
        return CallOutcome("unchanged", message)
    return CallOutcome("failed", f"HTTP {status}: {message}")
