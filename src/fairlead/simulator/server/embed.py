"""Answers /v1/embeddings: the texts are computed as prompts are, and their vectors made up."""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import web

from fairlead.clock import Clock
from fairlead.simulator.server.adapters import Models
from fairlead.simulator.server.answers.embeddings import DEFAULT_DIMENSIONS, embeddings_body, inputs_of, shown, vector
from fairlead.simulator.server.answers.outcome import LENGTH, Outcome
from fairlead.simulator.server.block_chain import block_chain
from fairlead.simulator.server.bodies.http_body import json_response
from fairlead.simulator.server.bodies.sampling import check_length
from fairlead.simulator.server.composer import Composer
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.respond import Responder


async def embed(raw: Any, composer: Composer, models: Models, responder: Responder, clock: Clock) -> web.StreamResponse:
    """The whole exchange. Raises ApiError."""
    body = embeddings_body(raw)
    model, adapter = models.resolve(body.get("model"))
    prompts = composer.prompts(inputs_of(body))
    requests: list[LiveRequest] = []
    for ids in prompts:
        check_length(len(ids), composer.max_model_len, None, from_text=True)
        requests.append(
            LiveRequest(
                id=f"embd-{secrets.token_hex(8)}",
                prompt_tokens=len(ids),
                output_tokens=1,
                chain=block_chain(ids, composer.block_tokens, adapter=adapter),
                adapter=adapter,
                outcome=Outcome([composer.tokenizer.eos], [""], LENGTH),
                prompt_ids=ids,
                index=len(requests),
            )
        )
    await responder.run(requests, responder.least_loaded_rank())
    dimensions = body.get("dimensions") or DEFAULT_DIMENSIONS
    tokens = sum(map(len, prompts))
    data = [
        {
            "index": index,
            "object": "embedding",
            "embedding": shown(vector(ids, dimensions), body.get("encoding_format")),
        }
        for index, ids in enumerate(prompts)
    ]
    return json_response(
        {
            "id": f"embd-{secrets.token_hex(8)}",
            "object": "list",
            "created": int(clock.wall_s()),
            "model": model,
            "data": data,
            "usage": {
                "prompt_tokens": tokens,
                "total_tokens": tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
            },
        }
    )
