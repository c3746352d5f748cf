"""Keeping what a run was given to open doors with out of what it leaves behind: servers like to repeat it in errors."""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from fairlead.bench.config import Benchmark
from fairlead.bench.config.shown import HIDDEN, secrets_in, shown_text
from fairlead.bench.config.target import Target
from fairlead.bench.server_side.token import token_of
from fairlead.bench.targets.address import key_of

CUT_FROM = 200
"""Characters: shorter texts have not been cut."""
SHORTEST = 4
"""Characters: what is shorter stands in any text by chance."""
_SCHEMES = frozenset(("bearer", "basic", "token", "apikey", "digest"))
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Secrets:
    """Of one configuration."""

    def __init__(self, config: Benchmark) -> None:
        found = {secret for target in config.targets for secret in _of_target(target)}
        if config.server is not None:
            for address in (*config.server.engines, *config.server.power, config.server.gateway or ""):
                found.update(_of_address(address))
            with contextlib.suppress(ValueError):  # there is none: the run will not begin
                found.add(token_of(config.server) or "")
        forms = {form for secret in found for form in (secret, quote(secret, safe=""), secret.replace('"', '\\"'))}
        longest_first = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._forms = longest_first
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def hidden(self, text: str) -> str:
        """The text without any of them."""
        text = shown_text(text)
        if self._pattern is None:
            return text
        text = self._pattern.sub(HIDDEN, text)
        return self._without_beginning(text) if len(text) >= CUT_FROM else text

    def _without_beginning(self, text: str) -> str:
        """What a server says is kept so far and no further, and the cut may go through a secret."""
        for form in self._forms:
            for length in range(min(len(form) - 1, len(text)), SHORTEST - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + HIDDEN
        return text

    def hidden_in(self, value: Any) -> Any:
        """The same of all texts in an object."""
        if isinstance(value, str):
            return self.hidden(value)
        if isinstance(value, dict):
            return {key: self.hidden_in(each) for key, each in value.items()}
        return [self.hidden_in(each) for each in value] if isinstance(value, list | tuple) else value


def _of_target(target: Target) -> Iterator[str]:
    yield from _of_address(target.url)
    yield from _of_address(target.path or "")
    for value in target.headers.values():
        for written in (value, _VARIABLE.sub(lambda found: os.environ.get(found[1], ""), value)):
            yield written
            yield from (word for word in re.split(r"[\s,;=]+", written) if word.lower() not in _SCHEMES)
    with contextlib.suppress(ValueError):  # there is none: the run will not begin
        yield key_of(target) or ""
    yield from secrets_in(target.parameters)
    yield from secrets_in(target.raw.body if target.raw is not None else "")


def _of_address(address: str) -> Iterable[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return [address]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    pair = base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    plain = {"true", "false"}
    return [user, password, parts.password or "", pair, parts.fragment, *(v for v in values if v not in plain),
            *(unquote(v) for v in values if v not in plain)]  # fmt: skip
