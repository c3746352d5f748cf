"""From the messages of a conversation to the text of its prompt.

The plain template pads every part to whole four-byte tokens. So a conversation that goes on with the answer it got
keeps the very tokens of prompt and answer, and finds them in the prefix cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from fairlead.simulator.server.bodies.errors import ApiError
from fairlead.simulator.server.text.tokens import BYTES_PER_TOKEN

ANSWER_ROLE = "assistant"


class ChatTemplate(Protocol):
    """How a conversation becomes text. `messages` have `role` and `content` (text)."""

    def render(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[Any] | None, *, add_generation_prompt: bool = True
    ) -> str: ...


class PlainTemplate:
    """`<role>` on a line of its own before every message, tools as JSON before all."""

    def render(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[Any] | None, *, add_generation_prompt: bool = True
    ) -> str:
        parts = []
        if tools:
            parts += [_padded("<tools>\n"), _padded(msgspec.json.encode(tools).decode() + "\n")]
        for message in messages:
            parts.append(_padded(f"<{message['role']}>\n"))
            parts.append(_padded(message["content"]))
            if message.get("tool_calls"):
                parts.append(_padded(msgspec.json.encode(message["tool_calls"]).decode()))
        if add_generation_prompt:
            parts.append(_padded(f"<{ANSWER_ROLE}>\n"))
        return "".join(parts)


def flattened(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with their content as one text; parts that are not text are passed over."""
    return [{**message, "content": content_text(message.get("content"))} for message in messages]


def content_text(content: Any) -> str:
    """The text of a message's content: a text, or parts of which some have one."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def check_parts(messages: Sequence[dict[str, Any]]) -> None:
    """Parts of a content must be objects of a known type. Raises ApiError."""
    for message in messages:
        content = message.get("content")
        parts = list(content) if isinstance(content, dict) else content if isinstance(content, list) else ()
        for index, part in enumerate(parts):
            if not isinstance(part, dict):
                place, wrong = "", "Input should be a valid dictionary"
            elif part.get("type") not in _PART_TYPES:
                place = ".type"
                wrong = "Input should be 'text'" if "type" in part else "Field required"
            elif part["type"] in ("text", "input_text", "output_text") and not isinstance(part.get("text"), str):
                place = ".text"
                wrong = "Input should be a valid string" if "text" in part else "Field required"
            else:
                continue
            head = "1 validation error for ValidatorIterator"
            raise ApiError(400, f"{head}\n{index}.ChatCompletionContentPartTextParam{place}\n  {wrong}")


_MEDIA_TYPES = ("image_url", "input_audio", "video_url", "audio_url", "input_image", "image")
_PART_TYPES = frozenset(("text", "input_text", "output_text", "refusal", "thinking", "file", *_MEDIA_TYPES))


def has_media(messages: Sequence[dict[str, Any]]) -> bool:
    """Whether any message has a part that is not text."""
    return any(
        isinstance(part, dict) and part.get("type") in _MEDIA_TYPES
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )


def _padded(text: str) -> str:
    return text + " " * (-len(text.encode("utf-8", "surrogatepass")) % BYTES_PER_TOKEN)
