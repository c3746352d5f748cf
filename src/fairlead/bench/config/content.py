"""What is asked: where prompts, lengths, conversations and adapters come from. When it is asked is the load's."""

from __future__ import annotations

from typing import Literal, TypeAlias

from fairlead.bench.config.part import Count, NotNegative, Part, Positive, Share
from fairlead.workload import Adapters, Conversations, Lengths, LogNormal, Prefixes


class ToolUse(Part, frozen=True, tag_field="kind", tag="tools"):
    """Agents: after an answer a tool runs for `seconds` (mean, exponential) and its result, of `result_tokens`, is the
    next turn; `calls` of them follow each other before the agent is done. `definition_tokens` describe the tools in
    front."""

    calls: Lengths
    result_tokens: Lengths = LogNormal(400.0)
    seconds: NotNegative = 1.0
    definition_tokens: Lengths | None = None


class SyntheticContent(Part, frozen=True, tag_field="kind", tag="synthetic"):
    """Made text of exact lengths in tokens. `prompt_tokens` is what is new in a prompt; shared prefixes and former
    turns come on top. `adapter_weights` names adapters with their shares (the empty name: the base model) in place of
    drawn ones."""

    prompt_tokens: Lengths = LogNormal(512.0)
    output_tokens: Lengths = LogNormal(128.0)
    prefixes: tuple[Prefixes, ...] = ()
    conversations: Conversations | None = None
    tools: ToolUse | None = None
    adapters: Adapters | None = None
    adapter_weights: dict[str, Positive] = {}
    block_tokens: Count = 16


class TraceContent(Part, frozen=True, tag_field="kind", tag="trace"):
    """Requests of a trace: lengths, sessions, adapters, and prefixes where it has them. `format` None: told by
    content. `block_tokens` None: the format's own; `skip_broken` leaves out lines that are no requests, and `sort` puts
    in order of time what is not (in memory). Longer prompts and answers than `max_*_tokens` are cut to them."""

    path: str
    format: str | None = None
    first_s: NotNegative = 0.0
    last_s: Positive | None = None
    requests: Count | None = None
    max_prompt_tokens: Count | None = None
    max_output_tokens: Count | None = None
    block_tokens: Count | None = None
    skip_broken: bool = False
    sort: bool = False
    adapter_weights: dict[str, Positive] = {}


class FileContent(Part, frozen=True, tag_field="kind", tag="file"):
    """Prompts of a file: JSON lines, CSV or Parquet, one request a row, or conversations in ShareGPT's form. Columns
    are named; without `output_column` answers are as long as `output_tokens` draws, or as the model likes (None)."""

    path: str
    form: Literal["jsonl", "csv", "parquet", "sharegpt"] | None = None
    prompt_column: str = "prompt"
    output_column: str | None = None
    output_tokens: Lengths | None = None
    order: Literal["file", "shuffled"] = "file"
    repeat: bool = True
    adapter_weights: dict[str, Positive] = {}


class DatasetContent(Part, frozen=True, tag_field="kind", tag="dataset"):
    """Prompts of a dataset of the Hugging Face hub (through its parquet files), where the hub can be reached."""

    name: str
    split: str = "train"
    subset: str | None = None
    revision: str = "main"
    prompt_column: str = "prompt"
    output_tokens: Lengths | None = None
    sample: Share = 1.0
    adapter_weights: dict[str, Positive] = {}


Content: TypeAlias = SyntheticContent | TraceContent | FileContent | DatasetContent
