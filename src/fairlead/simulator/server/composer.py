"""From a checked body to the sequences that go into an engine, with the answers they will give.

Order of the checks: model, prompt, length, sampling, constraints; each with vLLM's words.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.simulator.server.adapters import Models
from fairlead.simulator.server.answers.answer import Answer, AnswerHead, AnswerOptions, Transcript
from fairlead.simulator.server.answers.chat_answer import ChatAnswer
from fairlead.simulator.server.answers.completion_answer import CompletionAnswer
from fairlead.simulator.server.answers.outcome import Author, Outcome
from fairlead.simulator.server.answers.tools import Tool, chosen_tool, tool_text
from fairlead.simulator.server.block_chain import block_chain
from fairlead.simulator.server.bodies.chat import ChatTemplate, check_parts, flattened, has_media
from fairlead.simulator.server.bodies.constraint import Constraint, constraint_of
from fairlead.simulator.server.bodies.errors import ApiError, invalid
from fairlead.simulator.server.bodies.openai_body import Body
from fairlead.simulator.server.bodies.sampling import Sampling, check_length, check_text, check_vocabulary, sampling_of
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.text.tokens import Tokenizer
from fairlead.simulator.server.text.words import seed_of

_NO_MESSAGES = "Cannot apply chat template to an empty conversation. Provide at least one message."


@dataclass(slots=True)
class Composed:
    """A request, ready to run. `answer_for` makes its answer, given the head."""

    model: str
    adapter: str
    requests: list[LiveRequest]
    options: AnswerOptions
    answer_for: Callable[[AnswerHead], Answer]
    kv_transfer_params: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = None

    @property
    def prompt_tokens(self) -> int:
        return sum(request.prompt_tokens for request in self.requests[:: self.requests[0].n])


class Composer:
    """Composes for one server. `tool_probability` is how often a model that may call a tool does."""

    def __init__(
        self,
        models: Models,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        author: Author,
        *,
        block_tokens: int,
        max_model_len: int,
        tool_probability: float = 0.5,
        cached_tokens_shown: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.models = models
        self._template = template
        self._author = author
        self.block_tokens = block_tokens
        self.max_model_len = max_model_len
        self._tool_probability = tool_probability
        self._cached_tokens_shown = cached_tokens_shown

    # The endpoints

    def chat(self, body: Body) -> Composed:
        """Raises ApiError."""
        model, adapter = self.models.resolve(body.get("model"))
        ids, rendered = self.chat_prompt(body)
        asked = body.get("max_completion_tokens")
        name = "max_tokens" if asked is None else "max_completion_tokens"
        asked = body.get("max_tokens") if asked is None else asked
        logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
        prompt_logprobs = body.get("prompt_logprobs")
        if prompt_logprobs is None and body.get("echo"):
            prompt_logprobs = body.get("top_logprobs") or 0
        sampling = self._sampling(body, len(ids), asked, logprobs, prompt_logprobs, name=name)
        tools = [Tool(t["function"]["name"], t["function"].get("parameters")) for t in body.get("tools") or ()]
        choice = body.get("tool_choice", "none")
        requests = self._sequences(body, adapter, ids, rendered.encode("utf-8", "replace"), sampling, tools, choice)
        echo = body["messages"][-1].get("content") if body.get("echo") else None
        options = self._options(body, sampling, echo=echo if isinstance(echo, str) else None)
        named = isinstance(choice, dict)
        return self._composed(
            body,
            model,
            adapter,
            requests,
            options,
            lambda head: ChatAnswer(head, requests, options, self._transcript(body), named_tool=named),
        )

    def completion(self, body: Body) -> Composed:
        """Raises ApiError."""
        model, adapter = self.models.resolve(body.get("model"))
        prompts = self._prompts(body)
        asked = body.get("max_tokens", 16)
        echo, logprobs = bool(body.get("echo")), body.get("logprobs")
        prompt_logprobs = body.get("prompt_logprobs")
        if prompt_logprobs is None and echo:
            prompt_logprobs = logprobs
        echo_only = echo and asked == 0
        requests: list[LiveRequest] = []
        for prompt, ids in prompts:
            sampling = self._sampling(
                body, len(ids), 1 if echo_only else asked, logprobs, prompt_logprobs, from_text=isinstance(prompt, str)
            )
            key = prompt.encode("utf-8", "replace") if isinstance(prompt, str) else msgspec.msgpack.encode(prompt)
            requests += self._sequences(body, adapter, ids, key, sampling)
        for index, request in enumerate(requests):
            request.index = index
        options = self._options(body, sampling, echo_only=echo_only)
        texts = [p if isinstance(p, str) else self.tokenizer.decode(ids) for p, ids in prompts] if echo else []
        return self._composed(
            body,
            model,
            adapter,
            requests,
            options,
            lambda head: CompletionAnswer(head, requests, options, self._transcript(body), prompts=texts),
        )

    def single(
        self,
        body: Body,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Tool],
        choice: Any,
        asked: int | None,
        constraint: Constraint | None,
        answer_for: Callable[[AnswerHead, LiveRequest, AnswerOptions, Sampling], Answer],
        *,
        name: str,
    ) -> Composed:
        """One sequence for a conversation: what Responses and Messages come down to. `name` is what an error calls the
        most tokens. Raises ApiError."""
        model, adapter = self.models.resolve(body.get("model"))
        if not messages:
            raise ApiError(400, _NO_MESSAGES)
        rendered = self._template.render(flattened(messages), _as_functions(tools))
        ids = self._encoded(rendered, body, special=False)
        sampling = self._sampling(body, len(ids), asked, None, None, name=name)
        requests = self._sequences(
            body, adapter, ids, rendered.encode("utf-8", "replace"), sampling, tools, choice, constraint
        )
        options = self._options(body, sampling)
        return self._composed(
            body,
            model,
            adapter,
            requests,
            options,
            lambda head: answer_for(head, requests[0], options, sampling),
        )

    def chat_prompt(self, body: Body) -> tuple[list[int], str]:
        """Token ids and text of a conversation's prompt. Raises ApiError."""
        messages = body["messages"]
        if body.get("chat_template") or (body.get("chat_template_kwargs") or {}).get("chat_template"):
            raise ApiError(
                400,
                "Chat template is passed with request, but --trust-request-chat-template is not set. Refused request "
                "with untrusted chat template.",
            )
        if not messages:
            raise ApiError(400, _NO_MESSAGES)
        check_parts(messages)
        if has_media(messages):
            raise ApiError(400, f"{self.models.names[0]} is not a multimodal model")
        goes_on = body.get("continue_final_message", False)
        rendered = self._template.render(
            flattened(messages),
            body.get("tools"),
            add_generation_prompt=body.get("add_generation_prompt", True) and not goes_on,
        )
        ids = self._encoded(rendered, body, special=False)
        return self._truncated(ids, body), rendered

    def prompts(self, given: Sequence[str | list[int]]) -> list[list[int]]:
        """Token ids of prompts given as text or ids. Raises ApiError."""
        return [ids for _, ids in self._prompts({"prompt": list(given)})]

    def count(self, messages: Sequence[dict[str, Any]], tools: Sequence[Tool]) -> int:
        """Tokens of a conversation's prompt."""
        return len(self.tokenizer.encode(self._template.render(flattened(messages), _as_functions(tools))))

    # Parts

    def _prompts(self, body: Body) -> list[tuple[str | list[int], list[int]]]:
        """(prompt as given, its token ids) for every prompt of a completion."""
        prompt = body["prompt"]
        if prompt == []:
            raise ApiError(400, "You must pass at least one prompt")
        given = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
        prompts = []
        for each in given:
            if isinstance(each, str):
                ids = self._encoded(each, body, special=True)
            else:
                ids = each
                self._check_ids(ids)
            if not ids:
                raise ApiError(400, "The decoder prompt cannot be empty")
            prompts.append((each, self._truncated(ids, body)))
        return prompts

    def _encoded(self, text: str, body: Body, *, special: bool) -> list[int]:
        if body.get("truncate_prompt_tokens") is None:
            check_text(len(text), self.max_model_len, self.tokenizer.max_chars)
        try:
            return self.tokenizer.encode(text, add_special_tokens=body.get("add_special_tokens", special))
        except (TypeError, UnicodeError) as error:
            # A lone surrogate is no text for a real tokenizer; the message is that of its library.
            kinds = "Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
            raise ApiError(400, f"TextEncodeInput must be {kinds}") from error

    def _check_ids(self, ids: Sequence[int]) -> None:
        most = max(ids, default=0)
        vocabulary = self.tokenizer.vocabulary
        if most >= 2**63 or (vocabulary is not None and most >= vocabulary):
            raise ApiError(400, f"Token id {most} is out of vocabulary")

    def _truncated(self, ids: list[int], body: Body) -> list[int]:
        keep = body.get("truncate_prompt_tokens")
        if keep is None:
            return ids
        if keep > self.max_model_len:
            raise invalid(
                f"truncate_prompt_tokens={keep} cannot be greater than max_model_len = {self.max_model_len}. Please "
                "request a smaller truncation size.",
                parameter="truncate_prompt_tokens",
                value=keep,
            )
        if not keep:
            raise ApiError(400, "The decoder prompt cannot be empty")
        keep = self.max_model_len - 1 if keep == -1 else keep
        if len(ids) <= keep:
            return ids
        return ids[:keep] if body.get("truncation_side") == "right" else ids[len(ids) - keep :]

    def _sampling(
        self,
        body: Body,
        prompt_tokens: int,
        asked: int | None,
        logprobs: int | None,
        prompt_logprobs: int | None,
        *,
        from_text: bool = True,
        name: str = "max_tokens",
    ) -> Sampling:
        max_tokens = check_length(prompt_tokens, self.max_model_len, asked, from_text=from_text, name=name)
        sampling = sampling_of(
            body,
            max_tokens=max_tokens,
            asked=asked,
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            vocabulary=self.tokenizer.vocabulary,
        )
        check_vocabulary(body, self.tokenizer.vocabulary)
        return sampling

    def _sequences(
        self,
        body: Body,
        adapter: str,
        ids: list[int],
        key: bytes,
        sampling: Sampling,
        tools: Sequence[Tool] = (),
        choice: Any = "none",
        constraint: Constraint | None = None,
    ) -> list[LiveRequest]:
        """The choices for one prompt."""
        constraint = constraint or constraint_of(body)
        salt = body.get("cache_salt") or ""
        requests = []
        for index in range(sampling.n):
            seed = seed_of(key, sampling.seed, index)
            outcome = self._outcome(seed, sampling, tools, choice, constraint)
            requests.append(
                LiveRequest(
                    id="",
                    prompt_tokens=len(ids),
                    output_tokens=len(outcome.ids),
                    chain=block_chain([*ids, *outcome.ids], self.block_tokens, adapter=adapter, salt=salt),
                    adapter=adapter,
                    outcome=outcome,
                    prompt_ids=ids,
                    index=index,
                    n=sampling.n,
                    max_tokens=sampling.asked_tokens,
                    salt=salt,
                )
            )
        return requests

    def _outcome(
        self, seed: int, sampling: Sampling, tools: Sequence[Tool], choice: Any, constraint: Constraint | None
    ) -> Outcome:
        generator = random.Random(seed)
        tool = chosen_tool(tools, choice, generator, self._tool_probability)
        if tool is not None:
            text, call = tool_text(tool, generator)
            return self._author.fixed(text, seed, sampling, call)
        if constraint is not None:
            return self._author.fixed(constraint(generator), seed, sampling)
        return self._author.free(seed, sampling)

    def _options(
        self, body: Body, sampling: Sampling, *, echo: str | None = None, echo_only: bool = False
    ) -> AnswerOptions:
        wishes = body.get("stream_options") or {}
        usage = bool(wishes.get("include_usage"))
        return AnswerOptions(
            stream=bool(body.get("stream")),
            include_usage=usage,
            continuous_usage=usage and bool(wishes.get("continuous_usage_stats")),
            logprobs=sampling.logprobs,
            prompt_logprobs=sampling.prompt_logprobs,
            return_token_ids=bool(body.get("return_token_ids")),
            tokens_as_ids=bool(body.get("return_tokens_as_token_ids")),
            echo=echo,
            echo_only=echo_only,
            cached_tokens_shown=self._cached_tokens_shown,
        )

    def _transcript(self, body: Body) -> Transcript:
        return Transcript(self.tokenizer, self._author.words, as_ids=bool(body.get("return_tokens_as_token_ids")))

    def _composed(
        self,
        body: Body,
        model: str,
        adapter: str,
        requests: list[LiveRequest],
        options: AnswerOptions,
        answer_for: Callable[[AnswerHead], Answer],
    ) -> Composed:
        params = body.get("kv_transfer_params") or {}
        return Composed(model, adapter, requests, options, answer_for, params, body.get("request_id"))


def _as_functions(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    """Tools as a chat template gets them."""
    return [{"type": "function", "function": {"name": t.name, "parameters": t.parameters}} for t in tools] or None
