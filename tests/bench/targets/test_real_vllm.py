"""The real vLLM (`make test-real`): its usage counts the tokens that the client counted, and lengths are kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from bench.targets.test_worker_path import sent
from e2e.real_vllm import MARKS, installed, served
from fairlead.bench.config import Target, Tokenizer
from fairlead.bench.content.tokens import tokens_of
from fairlead.bench.record import Outcome
from fairlead.bench.session import Session, Turn
from fairlead.bench.targets.preflight import preflight
from fairlead.engines import EngineSpec

pytestmark = [*MARKS, pytest.mark.timeout(900)]


async def test_usage_counts_what_the_client_counted(tmp_path: Path) -> None:
    paths = installed()
    spec = EngineSpec("tiny", host="127.0.0.1", port=unused_port(), args=("--max-model-len", "2048"))
    with served(paths, spec, tmp_path / "log"):
        url, tokenizer = f"http://127.0.0.1:{spec.port}", Tokenizer(source=paths["MODEL"])
        for api in ("chat", "completions", "responses", "messages"):
            found = await preflight(Target(url=url, model="tiny", api=api))
            assert found.ok and found.usage and found.streamed, found.problems
            assert found.server.kind == "vllm" and found.server.version
            # Nothing in Anthropic's API forces a length.
            assert all(p.field == "force_length" and api == "messages" for p in found.problems)
        target = Target(url=url, model="tiny", api="completions", tokenizer=tokenizer)
        tokens, rng = tokens_of(tokenizer, "completions"), random.Random(1)
        for count in (1, 17, 256):
            text = tokens.text(count, rng)
            (record,) = await sent(target, Session([Turn(text, count, 24)]))
            assert (record.outcome, record.detail) == (Outcome.WHOLE, "")
            assert record.server_output_tokens == 24
            assert record.server_prompt_tokens == tokens.count(text)
