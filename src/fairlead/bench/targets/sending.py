"""What a server is, and which optional fields its requests have because of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.bench.config.target import Target, Tensor

LengthField = Literal["max_tokens", "max_completion_tokens"]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a server, for requests and for reports. Empty: not known. `told_by` says by which page."""

    kind: str = ""
    version: str = ""
    told_by: str = ""
    models: tuple[str, ...] = ()
    tensors: tuple[Tensor, ...] = ()


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that not every server takes. `ignore_eos`: answers go on to their length, whatever the model says."""

    length_field: LengthField = "max_tokens"
    ignore_eos: bool = False
    usage: bool = True
    continuous_usage: bool = False

    def told(self) -> str:
        """For a report."""
        fields: list[str] = [self.length_field]
        fields += ["ignore_eos"] if self.ignore_eos else []
        fields += ["stream_options.include_usage"] if self.usage else []
        fields += ["stream_options.continuous_usage_stats"] if self.continuous_usage else []
        return ", ".join(fields)


# Of `ignore_eos`: vLLM, SGLang, TensorRT-LLM and llama.cpp document it for (chat) completions, vLLM for responses too.
# Anthropic's messages have no such field anywhere.
_FORCES = {
    "chat": frozenset(("", "vllm", "sglang", "tensorrt-llm", "llama.cpp", "furiosa-llm")),
    "completions": frozenset(("", "vllm", "sglang", "tensorrt-llm", "llama.cpp", "furiosa-llm")),
    "responses": frozenset(("vllm",)),
    "triton-generate": frozenset(("triton",)),
}
_STREAM_OPTIONS = frozenset(("chat", "completions"))


def sending(target: Target, server: Server | None = None) -> Sending:
    """What to send by what the server is; one that is not known is sent what vLLM takes, which most pass over."""
    kind = server.kind if server is not None else ""
    return Sending(
        length_field=target.length_field or ("max_completion_tokens" if kind == "openai" else "max_tokens"),
        ignore_eos=target.force_length and kind in _FORCES.get(target.api, ()),
        usage=target.api in _STREAM_OPTIONS,
        continuous_usage=target.api in _STREAM_OPTIONS and target.continuous_usage is True,
    )
