"""Made content: texts of drawn lengths, trees of shared prefixes, conversations, agents and their tools, adapters."""

from __future__ import annotations

import random
from collections.abc import Iterator

from fairlead.bench.config.content import SyntheticContent
from fairlead.bench.content.identity import identity
from fairlead.bench.content.shares import AdapterTurns, zipf_weights
from fairlead.bench.content.tokens import Tokens
from fairlead.bench.session import Session, Turn
from fairlead.workload.synthetic import Zipf

_LONGEST_LOOP = 10_000
_KEPT_BYTES = 8 * 2**20


def synthetic_sessions(content: SyntheticContent, tokens: Tokens, seed: int) -> Iterator[Session]:
    """Endless. Lengths, texts and adapters each come from a generator of their own, so that other lengths leave the
    adapters as they were."""
    maker = _Maker(content, tokens, seed)
    while True:
        yield maker.session()


class _Maker:
    def __init__(self, content: SyntheticContent, tokens: Tokens, seed: int) -> None:
        self._content, self._tokens = content, tokens
        self._lengths, self._texts, self._pauses, self._paths = (
            random.Random(f"{seed}/{of}") for of in ("lengths", "texts", "pauses", "prefixes")
        )
        weights: dict[str, float] = dict(content.adapter_weights)
        if not weights and content.adapters is not None:
            drawn = content.adapters
            weights = zipf_weights(drawn.count, drawn.zipf, drawn.base_share)
        self._adapters = AdapterTurns(weights, random.Random(f"{seed}/adapters"))
        self._prefixes = _Tree(content, tokens, seed)
        self._tools = self._tool_definitions(seed)

    def session(self) -> Session:
        shared_text, shared_tokens = self._prefixes.draw(self._paths)
        tools_text, tools_tokens = self._tools
        shared, said = tools_text + shared_text, tools_tokens + shared_tokens
        turns: list[Turn] = []
        for number in range(self._user_turns()):
            pause_s = self._pause(self._content.conversations.pause_s) if number and self._content.conversations else 0
            said = self._add(turns, self._content.prompt_tokens.draw(self._lengths), said, pause_s, "user")
            if self._content.tools is not None:
                said = self._tool_turns(turns, said)
        if not self._tokens.additive:
            _recount(turns, shared, self._tokens)
        if shared:
            shared = self._tokens.opened(shared)
        else:
            turns[0].text = self._tokens.opened(turns[0].text)
        return Session(turns, shared=shared, adapter=self._adapters.next())

    def _user_turns(self) -> int:
        conversations = self._content.conversations
        return min(_LONGEST_LOOP, conversations.turns.draw(self._lengths)) if conversations is not None else 1

    def _tool_turns(self, turns: list[Turn], said: int) -> int:
        tools = self._content.tools
        assert tools is not None
        for _ in range(min(_LONGEST_LOOP, tools.calls.draw(self._lengths))):
            said = self._add(turns, tools.result_tokens.draw(self._lengths), said, self._pause(tools.seconds), "tool")
        return said

    def _add(self, turns: list[Turn], fresh: int, said: int, pause_s: float, role: str) -> int:
        """One turn more; returns what has been said when it is answered."""
        if not turns:
            said += self._tokens.added
            fresh = max(1, fresh - self._tokens.added)
        output = self._content.output_tokens.draw(self._lengths)
        turns.append(Turn(self._tokens.text(fresh, self._texts), said + fresh, output, pause_s, role))
        return said + fresh + output

    def _pause(self, mean_s: float) -> float:
        return self._pauses.expovariate(1 / mean_s) if mean_s > 0 else 0.0

    def _tool_definitions(self, seed: int) -> tuple[str, int]:
        """The same in front of all sessions."""
        tools = self._content.tools
        if tools is None or tools.definition_tokens is None:
            return "", 0
        count = tools.definition_tokens.draw(random.Random(f"{seed}/definitions"))
        return self._tokens.block(identity(f"{seed}/definitions"), count), count


class _Tree:
    """Shared prefixes: the text of a path is that of the path above it, and one of its own."""

    def __init__(self, content: SyntheticContent, tokens: Tokens, seed: int) -> None:
        self._levels = [(level, Zipf(level.count, level.zipf)) for level in content.prefixes]
        self._tokens, self._seed = tokens, seed
        self._made: dict[tuple[int, ...], tuple[str, int]] = {}
        self._size_bytes = 0

    def draw(self, rng: random.Random) -> tuple[str, int]:
        """Text and its tokens."""
        if not self._levels:
            return "", 0
        path = tuple(zipf.draw(rng) for _, zipf in self._levels)
        made = self._made.get(path)
        if made is None:
            made = self._make(path)
            if self._size_bytes > _KEPT_BYTES:
                self._made.clear()
                self._size_bytes = 0
            self._made[path] = made
            self._size_bytes += len(made[0])
        return made

    def _make(self, path: tuple[int, ...]) -> tuple[str, int]:
        parts: list[str] = []
        total = 0
        for depth in range(len(path)):
            name = f"{self._seed}/prefix/{path[: depth + 1]}"
            count = self._levels[depth][0].tokens.draw(random.Random(name))
            parts.append(self._tokens.block(identity(name), count))
            total += count
        return "".join(parts), total


def _recount(turns: list[Turn], shared: str, tokens: Tokens) -> None:
    """Counts of whole prompts, where texts melt at their seams: of what we wrote, with answers as long as asked for."""
    text, answers = shared, 0
    for turn in turns:
        text += turn.text
        turn.prompt_tokens = tokens.count(text) + tokens.added + answers
        answers += turn.output_tokens or 0
