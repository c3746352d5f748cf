"""Content becoming jobs: whose turn it is, in the text of its API, serialised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlead.bench.config import Benchmark, TracedTimes
from fairlead.bench.config.content import FileContent, SyntheticContent, TraceContent
from fairlead.bench.content.identity import identity
from fairlead.bench.content.sessions import sessions
from fairlead.bench.content.tokens import counts_bare, tokens_of
from fairlead.bench.session import Job, Session
from fairlead.bench.targets.preflight import Preflight
from fairlead.bench.targets.writing import Writer, writer


class Preparation:
    """Makes the jobs of a run, numbered as they come. Raises ValueError for content or a target that cannot be had.
    `known`: what a preflight of each target has found; none: they are sent what most servers take. Prompts are as
    long as they are to be in tokens of their target's own tokenizer."""

    def __init__(self, config: Benchmark, known: Sequence[Preflight] = ()) -> None:
        self.adapters: list[str] = []
        self._writers: list[Writer] = [
            writer(target, number, self.adapters, *((known[number].server, known[number].sending) if known else ()))
            for number, target in enumerate(config.targets)
        ]
        self._shares = Shares([target.weight for target in config.targets])
        self._target = 0  # whose turn the session is that was taken last
        counted = [(target.tokenizer, counts_bare(target.api)) for target in config.targets]
        self._kinds = [counted.index(each) for each in counted]  # of each target, whose stream its sessions come from
        self._streams: dict[int, Iterator[Session]] = {
            kind: sessions(config.content, tokens_of(target.tokenizer, target.api), config.seed)
            for kind, target in enumerate(config.targets)
            if kind in self._kinds
        }
        content = config.content
        self.endless = not isinstance(content, TraceContent) and (
            not isinstance(content, FileContent) or content.repeat
        )  # whatever is taken, there is more
        self._each_once = not isinstance(config.content, SyntheticContent)
        self._number = 0
        self._chained = isinstance(config.load, TracedTimes)
        self.ended = False

    def take(self) -> Session | None:
        """The next session, in tokens of the target whose turn it is; None: the content has ended."""
        self._target = self._shares.next()
        mine = self._kinds[self._target]
        session = next(self._streams[mine], None)
        if session is None:
            self.ended = True
        elif self._each_once:  # what one target is asked, targets with other tokenizers are not
            for kind, stream in self._streams.items():
                if kind != mine:
                    next(stream, None)
        return session

    def job(self, session: Session, stage: int, due_s: float) -> Job:
        """The session that was taken last, written for its target."""
        if session.adapter and session.adapter not in self.adapters:
            self.adapters.append(session.adapter)
        job = self._writers[self._target].prepare(session, self._number, stage, due_s)
        if self._chained and session.traced:
            job.chain = identity(session.traced) >> 1
        self._number += 1
        return job


class Shares:
    """Whose turn it is among several with weights, so that every stretch of turns has the shares that were asked for
    (smooth weighted round robin)."""

    def __init__(self, weights: list[float]) -> None:
        self._weights, self._sum = weights, sum(weights)
        self._credit = [0.0] * len(weights)

    def next(self) -> int:
        credit = self._credit
        for at, weight in enumerate(self._weights):
            credit[at] += weight
        best = max(range(len(credit)), key=credit.__getitem__)
        credit[best] -= self._sum
        return best


def size_bytes(job: Job) -> int:
    """Of the bodies, about."""
    return len(job.head) + sum(len(piece) for turn in job.turns for piece in turn.pieces)


def keeps_answers(config: Benchmark) -> bool:
    """Whether later turns may need the answers before them."""
    content = config.content
    if isinstance(content, SyntheticContent):
        return content.conversations is not None or content.tools is not None
    return not isinstance(content, FileContent) or content.form in (None, "sharegpt")
