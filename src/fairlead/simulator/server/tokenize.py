"""/tokenize and /detokenize. Reference: vLLM 0.32, `entrypoints/serve/tokenize`."""

from __future__ import annotations

from typing import Any

from fairlead.simulator.server.adapters import Models
from fairlead.simulator.server.bodies import fields as f
from fairlead.simulator.server.bodies.conversation_body import MESSAGES
from fairlead.simulator.server.bodies.openai_body import TOOLS
from fairlead.simulator.server.composer import Composer

_COMMON: dict[str, f.Check] = {
    "model": f.optional(f.text),
    "add_special_tokens": f.boolean,
    "return_token_strs": f.optional(f.boolean),
}
_BODY = f.either(
    f.Shape({**_COMMON, "prompt": f.text}, required=("prompt",)),
    f.Shape(
        {
            "model": f.optional(f.text),
            "messages": MESSAGES,
            **_COMMON,
            "tools": TOOLS,
            "add_generation_prompt": f.boolean,
            "continue_final_message": f.boolean,
            "chat_template": f.optional(f.text),
        },
        required=("messages",),
    ),
)
_DETOKENIZE = f.Shape(
    {"model": f.optional(f.text), "tokens": f.array(f.integer(ge=0, le=f.INT64_MAX))}, required=("tokens",)
)


def tokenized(raw: Any, composer: Composer, models: Models) -> dict[str, Any]:
    """The body that answers /tokenize. Raises ApiError."""
    body = f.checked(_BODY, raw)
    models.resolve(body.get("model"))
    if "prompt" in body:
        ids = composer.tokenizer.encode(body["prompt"], add_special_tokens=body.get("add_special_tokens", True))
    else:
        ids, _ = composer.chat_prompt(body)
    strings = composer.tokenizer.pieces(ids) if body.get("return_token_strs") else None
    return {"count": len(ids), "max_model_len": composer.max_model_len, "tokens": ids, "token_strs": strings}


def detokenized(raw: Any, composer: Composer, models: Models) -> dict[str, Any]:
    """The body that answers /detokenize. Raises ApiError."""
    body = f.checked(_DETOKENIZE, raw)
    models.resolve(body.get("model"))
    return {"prompt": composer.tokenizer.decode(body["tokens"])}
