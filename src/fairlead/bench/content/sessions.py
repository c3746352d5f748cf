"""Content as a stream of sessions."""

from __future__ import annotations

import random
from collections.abc import Iterator

from fairlead.bench.config.content import Content, SyntheticContent
from fairlead.bench.content.tokens import Tokens
from fairlead.bench.session import Session, Turn


def sessions(content: Content, tokens: Tokens, seed: int) -> Iterator[Session]:
    """Endless, unless the content ends. The same for the same seed."""
    if not isinstance(content, SyntheticContent):
        raise ValueError(f"content.kind is {type(content).__name__}: only synthetic content is read yet")
    rng = random.Random(seed)
    while True:
        prompt, output = content.prompt_tokens.draw(rng), content.output_tokens.draw(rng)
        yield Session([Turn(tokens.text(prompt, rng), prompt, output)])
