"""Content as a stream of sessions."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.bench.config.content import Content, DatasetContent, FileContent, SyntheticContent, TraceContent
from fairlead.bench.content.tokens import Tokens
from fairlead.bench.session import Session


def sessions(content: Content, tokens: Tokens, seed: int) -> Iterator[Session]:
    """Endless, unless the content ends. The same for the same seed. Raises ValueError for content that cannot be had,
    and, while it is read, for a line of it that is broken."""
    if isinstance(content, SyntheticContent):
        from fairlead.bench.content.synthetic import synthetic_sessions

        return synthetic_sessions(content, tokens, seed)
    if isinstance(content, TraceContent):
        from fairlead.bench.content.traces import trace_sessions

        return trace_sessions(content, tokens, seed)
    from fairlead.bench.content.files import dataset_sessions, file_sessions

    if isinstance(content, FileContent):
        return file_sessions(content, tokens, seed)
    assert isinstance(content, DatasetContent)
    return dataset_sessions(content, tokens, seed)
