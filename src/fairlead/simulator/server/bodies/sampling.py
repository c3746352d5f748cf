"""How to generate: what a checked body asks for, verified in the order and words of vLLM.

Reference: vLLM 0.32, `sampling_params.py::SamplingParams` and `renderers/params.py::TokenizeParams`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Any

from fairlead.simulator.server.bodies.errors import ApiError, invalid

MAX_LOGPROBS = 20
MAX_N = 16_384
_TOKEN_ID = re.compile(r"\s*-?[0-9]{1,20}\s*")
_BYTE_VOCABULARY = 5 << 32
"""Ids of the tokenizer of four bytes are below this."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Of one request; tokens are counts. None where the request says nothing."""

    n: int
    max_tokens: int
    """Most tokens of an answer, with the room that prompt and context length leave."""
    min_tokens: int
    ignore_eos: bool
    stop: tuple[str, ...]
    stop_token_ids: frozenset[int]
    include_stop: bool
    seed: int | None
    logprobs: int | None
    """How many alternatives to show for every token; 0 shows the token's own."""
    prompt_logprobs: int | None
    greedy: bool
    asked_tokens: int | None
    """`max_tokens` as the request gave it."""


def check_length(
    prompt_tokens: int, max_model_len: int, asked: int | None, *, from_text: bool, name: str = "max_tokens"
) -> int:
    """Most output tokens: the room behind the prompt, or less where the request asks for less. Raises ApiError."""
    if asked is not None and asked > max_model_len:
        raise invalid(
            f"{name}={asked} cannot be greater than max_model_len={max_model_len}. Please request fewer output tokens.",
            parameter=name,
            value=asked,
        )
    if prompt_tokens > max_model_len:
        shown = max_model_len + 1 if from_text else prompt_tokens
        least = "at least " if from_text else ""
        raise invalid(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains {least}"
            f"{shown} input tokens, which exceeds this limit even without any output tokens. Please reduce the length "
            "of the input prompt.",
            parameter="input_tokens",
            value=shown,
        )
    room = max_model_len - prompt_tokens
    return room if asked is None else min(asked, room)


def check_text(characters: int, max_model_len: int, max_chars: int) -> None:
    """A text that is too long whatever its tokens are is not tokenised. Raises ApiError."""
    limit = max_model_len * max_chars
    if characters > limit:
        raise invalid(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
            f"{characters} characters (more than {limit} characters, which is the upper bound for {max_model_len} "
            "input tokens). Please reduce the length of the input prompt.",
            parameter="input_text",
            value=characters,
        )


def sampling_of(
    body: dict[str, Any],
    *,
    max_tokens: int,
    asked: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None,
    vocabulary: int | None = None,
) -> Sampling:
    """The sampling of a checked body. Raises ApiError."""
    n = body.get("n")
    n = 1 if n is None else n
    if n < 1:
        raise ApiError(400, f"n must be at least 1, got {n}.")
    if n > MAX_N:
        raise ApiError(
            400,
            f"n must be at most {MAX_N}, got {n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment "
            "variable.",
        )
    temperature = _or(body.get("temperature"), 1.0)
    _check_ranges(body, temperature)
    if max_tokens < 1:
        raise invalid(f"max_tokens must be at least 1, got {max_tokens}.", parameter="max_tokens", value=max_tokens)
    min_tokens = body.get("min_tokens", 0)
    if min_tokens < 0:
        raise ApiError(400, f"min_tokens must be greater than or equal to 0, got {min_tokens}.")
    if min_tokens > max_tokens:
        raise ApiError(400, f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.")
    _check_logprobs("logprobs", logprobs, vocabulary)
    _check_logprobs("prompt_logprobs", prompt_logprobs, vocabulary)
    stop = body.get("stop")
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if not all(stops):
        raise ApiError(400, "stop cannot contain an empty string.")
    bad_words = body.get("bad_words") or []
    if not all(bad_words):
        raise ApiError(400, f"bad_words cannot contain an empty string. Got bad_words={bad_words}")
    greedy = temperature < 1e-5
    if greedy and n > 1 and not body.get("use_beam_search"):
        raise ApiError(400, f"n must be 1 when using greedy sampling, got {n}.")
    return Sampling(
        n=n,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        ignore_eos=body.get("ignore_eos", False),
        stop=stops,
        stop_token_ids=frozenset(body.get("stop_token_ids") or ()),
        include_stop=body.get("include_stop_str_in_output", False),
        seed=body.get("seed"),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        greedy=greedy,
        asked_tokens=asked,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _check_ranges(body: dict[str, Any], temperature: float) -> None:
    for name in ("presence_penalty", "frequency_penalty"):
        value = _or(body.get(name), 0.0)
        if not -2.0 <= value <= 2.0:
            raise ApiError(400, f"{name} must be in [-2, 2], got {value}.")
    repetition = _or(body.get("repetition_penalty"), 1.0)
    if not isfinite(repetition):
        raise ApiError(400, f"repetition_penalty must be a finite number, got {repetition}.")
    if repetition <= 0.0:
        raise ApiError(400, f"repetition_penalty must be greater than zero, got {repetition}.")
    if not isfinite(temperature):
        says = "a finite number"
    elif temperature < 0.0:
        says = "non-negative"
    else:
        says = "in [0, 2]" if temperature > 2.0 else ""
    if says:
        raise invalid(f"temperature must be {says}, got {temperature}.", parameter="temperature", value=temperature)
    top_p = _or(body.get("top_p"), 1.0)
    if not 0.0 < top_p <= 1.0:
        raise invalid(f"top_p must be in (0, 1], got {top_p}.", parameter="top_p", value=top_p)
    top_k = _or(body.get("top_k"), 0)
    if top_k < -1:
        raise ApiError(400, f"top_k must be 0 (disable), or at least 1, got {top_k}.")
    min_p = _or(body.get("min_p"), 0.0)
    if not 0.0 <= min_p <= 1.0:
        raise ApiError(400, f"min_p must be in [0, 1], got {min_p}.")


def check_vocabulary(body: dict[str, Any], vocabulary: int | None) -> None:
    """Token ids in a body must be ones that exist. Raises ApiError."""
    allowed = body.get("allowed_token_ids")
    if allowed == []:
        raise invalid("allowed_token_ids is not None and empty!", parameter="allowed_token_ids", value=[])
    biased = list(body.get("logit_bias") or ())
    wrong = [each for each in biased if not _TOKEN_ID.fullmatch(each)]
    if wrong:
        raise invalid(
            f"logit_bias contains key(s) that cannot be converted to integer token IDs: {wrong}",
            parameter="logit_bias",
            value=wrong,
        )
    size = vocabulary or _BYTE_VOCABULARY
    for name, ids in (("logit_bias", map(int, biased)), ("stop_token_ids", body.get("stop_token_ids") or ())):
        beyond = [each for each in ids if not 0 <= each < size]
        if beyond:
            raise invalid(
                f"token_id(s) {beyond} in {name} contain out-of-vocab token ids. Vocabulary size: {size}",
                parameter=name,
                value=beyond,
            )
    if allowed is not None and not all(0 <= each < size for each in allowed):
        raise invalid("allowed_token_ids contains out-of-vocab token id!", parameter="allowed_token_ids", value=allowed)


def _check_logprobs(name: str, asked: int | None, vocabulary: int | None) -> None:
    value = (vocabulary or _BYTE_VOCABULARY) if asked == -1 else asked
    if value is not None and value > MAX_LOGPROBS:
        kind = "sample" if name == "logprobs" else "prompt"
        raise invalid(
            f"Requested {kind} logprobs of {value}, which is greater than max allowed: {MAX_LOGPROBS}",
            parameter=name,
            value=value,
        )
