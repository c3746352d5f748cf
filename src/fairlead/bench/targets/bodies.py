"""Bodies of the APIs of text, as objects. Where a former answer of the session goes, a mark stands in its place.

A turn of role `tool` is the result of a call that the answer before it is taken to have made; the call is written into
the conversation, because no API takes a result without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.bench.session import Session

Body = dict[str, Any]
BodyOf = Callable[[Session, int, str], Body]
TOOL = "tool"


def text_of(session: Session, number: int) -> str:
    """What is new in a turn; the first has the shared text in front."""
    text = session.turns[number].text
    return session.shared + text if number == 0 else text


def chat(session: Session, number: int, mark: str) -> Body:
    messages: list[Body] = []
    for at in range(number + 1):
        role = session.turns[at].role
        message: Body = {"role": role, "content": text_of(session, at)}
        if role == TOOL:
            message["tool_call_id"] = _call(at)
        messages.append(message)
        if at < number:
            said: Body = {"role": "assistant", "content": mark}
            if session.turns[at + 1].role == TOOL:
                call = {"name": TOOL, "arguments": "{}"}
                said["tool_calls"] = [{"id": _call(at + 1), "type": "function", "function": call}]
            messages.append(said)
    return {"messages": messages}


def prompt(session: Session, number: int, mark: str) -> str:
    """All that was said, without roles."""
    return mark.join(text_of(session, at) for at in range(number + 1))


def completions(session: Session, number: int, mark: str) -> Body:
    return {"prompt": prompt(session, number, mark)}


def responses(session: Session, number: int, mark: str) -> Body:
    items: list[Body] = []
    for at in range(number + 1):
        role, text = session.turns[at].role, text_of(session, at)
        if role == TOOL:
            items.append({"type": "function_call_output", "call_id": _call(at), "output": text})
        else:
            items.append({"role": role, "content": text})
        if at < number:
            items.append({"role": "assistant", "content": mark})
            if session.turns[at + 1].role == TOOL:
                items.append({"type": "function_call", "call_id": _call(at + 1), "name": TOOL, "arguments": "{}"})
    return {"input": items}


def messages(session: Session, number: int, mark: str) -> Body:
    """Anthropic's: system text stands beside the messages, and tools that have been used must be defined."""
    said: list[Body] = []
    system: list[str] = []
    for at in range(number + 1):
        role, text = session.turns[at].role, text_of(session, at)
        if role == "system":
            system.append(text)
        elif role == TOOL:
            result = {"type": "tool_result", "tool_use_id": _call(at), "content": text}
            said.append({"role": "user", "content": [result]})
        else:
            said.append({"role": role, "content": text})
        if at < number:
            uses = session.turns[at + 1].role == TOOL
            use = {"type": "tool_use", "id": _call(at + 1), "name": TOOL, "input": {}}
            said.append({"role": "assistant", "content": [{"type": "text", "text": mark}, use] if uses else mark})
    body: Body = {"messages": said}
    if system:
        body["system"] = "\n\n".join(system)
    if any(turn.role == TOOL for turn in session.turns[: number + 1]):
        body["tools"] = [{"name": TOOL, "input_schema": {"type": "object"}}]
        body["tool_choice"] = {"type": "none"}
    return body


def embeddings(session: Session, number: int, mark: str) -> Body:
    return {"input": text_of(session, number)}


def _call(number: int) -> str:
    """Nine letters and figures, as Mistral wants it."""
    return f"call{number:05d}"
