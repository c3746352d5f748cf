"""What an engine has done since it started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What has happened so far. `prompt_tokens` counts prompts at their first token, cached tokens included."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    fetched_tokens: int = 0
    generation_tokens: int = 0
    iterations: int = 0
    busy_s: float = 0.0
    spec_drafts: int = 0
    spec_drafted_tokens: int = 0
    spec_accepted_tokens: int = 0
