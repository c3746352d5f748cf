"""Tokens guessed from bytes, against texts whose tokens were counted."""

import json

import pytest

from fairlead.gateway.requests import estimate_tokens

TEXTS = [
    # (text, tokens: mean of cl100k, o200k, Qwen and DeepSeek)
    ("The quick brown fox jumps over the lazy dog and runs back into the forest before the sun has set. " * 3, 64),
    ("for index, value in enumerate(values):\n    totals[index] += value * weights[index]\n" * 3, 54),
    ("Потребители ждут ответа сервера не дольше нескольких секунд, затем уходят. " * 3, 75),
    ("推理网关根据每个副本的负载和缓存来选择最合适的副本。" * 4, 85),
]


@pytest.mark.parametrize(("text", "tokens"), TEXTS)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_estimates_are_near_in_every_script_and_form(text, tokens, ascii_only):
    body = json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1]
    assert 0.7 * tokens < estimate_tokens(body) < 1.4 * tokens


@pytest.mark.parametrize("text", [text for text, _ in TEXTS])
def test_long_texts_are_judged_by_samples(text):
    once, often = estimate_tokens(text.encode()), estimate_tokens(text.encode() * 500)
    assert 0.9 * 500 * once < often < 1.1 * 500 * once


def test_edges():
    assert estimate_tokens(b"") == 0
    assert estimate_tokens(b"a") == 1
    assert estimate_tokens(memoryview(b"abcd" * 1000)) == estimate_tokens(b"abcd" * 1000)
    assert estimate_tokens(b"\\u" * 10_000) >= 1
