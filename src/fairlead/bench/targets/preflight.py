"""One request before the run: whether the target can be asked at all, what the server is, and which optional fields
its requests have. What is wrong is said with the field to correct."""

from __future__ import annotations

import asyncio

import msgspec

from fairlead.bench.config.target import Target
from fairlead.bench.session import Session, Turn
from fairlead.bench.targets.address import PATHS, path_of, split
from fairlead.bench.targets.diagnosis import (
    Problem,
    refused,
    shortcomings,
    shown_url,
    unreached,
    weaker,
    wrong_model,
)
from fairlead.bench.targets.exchange import Asker, Exchange
from fairlead.bench.targets.identity import (
    FIRST_PAGES,
    INFERENCE_PAGE,
    VERSION_PAGES,
    identify,
    with_tensors,
    with_version,
)
from fairlead.bench.targets.readers import readers
from fairlead.bench.targets.sending import Sending, Server, sending
from fairlead.bench.targets.writing import STREAMS, peer, writer
from fairlead.clock import SYSTEM, Clock

WITHIN_S = 30.0
TOKENS = 16
TRIES = 5
SEVERAL = 1.5
"""Tokens per event from which on the server is asked to count those of each event."""
_PROMPT = "Count from one to twenty, in words."
_NOWHERE = "/no-such-page-of-any-server"
_INFERENCE = frozenset(("open-inference", "triton-generate"))


class Preflight(msgspec.Struct, frozen=True):
    """`sending` is what the run should send. `streamed` and `usage` None: no answer came. `answer_s`: how long the
    whole answer of the one request took."""

    server: Server
    sending: Sending
    streamed: bool | None = None
    usage: bool | None = None
    answer_s: float | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether requests can succeed."""
        return not any(problem.fatal for problem in self.problems)

    def environment(self) -> dict[str, object]:
        """For the report of a run."""
        server = self.server
        return {
            "server": server.kind or "not known",
            "version": server.version or "not known",
            "told_by": server.told_by,
            "sent": self.sending.told(),
            "notes": [str(problem) for problem in self.problems],
        }


async def preflight(target: Target, within_s: float = WITHIN_S, clock: Clock = SYSTEM) -> Preflight:
    """Never longer than `within_s` and a little. Raises ValueError for a target that cannot be written, and OSError
    for a certificate's file that cannot be read."""
    check = _Check(target, Asker(target), clock)
    try:
        async with asyncio.timeout(within_s):
            return await check.run()
    except TimeoutError:
        why = f"there was no whole answer of {TOKENS} tokens within {within_s:g} s"
        problem = Problem("url", shown_url(target), why, "see whether the server is well, or allow more time")
        return Preflight(check.server, check.sending, problems=(problem,))


class _Check:
    """One preflight under way."""

    def __init__(self, target: Target, asker: Asker, clock: Clock) -> None:
        self._target, self._asker, self._clock = target, asker, clock
        self.server = Server()
        self.sending = sending(target)
        path = path_of(target, target.model).partition("?")[0]
        ending = PATHS[target.api].replace("${model}", "")[:3]
        self._path = path
        self._base = path[: path.rfind(ending)] if ending in path and ending and target.path is None else ""

    async def run(self) -> Preflight:
        asker = self._asker
        first = await asker.page(self._base + FIRST_PAGES[0])
        if first.failure not in ("", "timeout", "unreadable"):
            return await self._unreached(first)
        await self._identify(first)
        self.sending = sending(self._target, self.server)
        try:
            found, answer_s = await self._ask()
        except ValueError:
            # The writer needs the model's inputs, and the server does not have them.
            return self._ended(wrong_model(self._target, self.server, "it has no metadata"))
        if found.failure == "unreadable":
            problem = Problem("api", self._target.api, f"the answer is of another kind: {found.detail}", "correct it")
            return self._ended(problem)
        if found.failure:
            return await self._unreached(found)
        if found.status >= 300:
            others = await self._others() if found.status in (404, 405) else ()
            return self._ended(refused(self._target, found, self.server, self._path, others))
        return self._judged(found, answer_s)

    async def _unreached(self, found: Exchange) -> Preflight:
        plain = split(self._target).scheme == "http"
        tls = plain and found.failure in ("not-http", "timeout") and await self._asker.speaks_tls()
        return self._ended(unreached(self._target, found, tls))

    def _ended(self, problem: Problem) -> Preflight:
        return Preflight(self.server, self.sending, problems=(problem,))

    # What it is

    async def _identify(self, models: Exchange) -> None:
        target = self._target
        more = [*FIRST_PAGES[1:], *([INFERENCE_PAGE] if target.api in _INFERENCE else [])]
        pages = {path: page for path, page in zip(more, await self._pages(more), strict=True) if page is not None}
        if models.status == 200 and (value := models.json()) is not None:
            pages[FIRST_PAGES[0]] = value
        server = identify(split(target).hostname or "", pages)
        if server.kind in VERSION_PAGES and not server.version:
            path = VERSION_PAGES[server.kind][0]
            (pages[path],) = await self._pages([path])
            server = with_version(identify(split(target).hostname or "", pages), pages)
        self.server = server
        if target.api in _INFERENCE:
            await self._learn_inputs()

    async def _learn_inputs(self) -> None:
        metadata = self._path.partition("/infer")[0].partition("/generate")[0].removeprefix(self._base)
        (page,) = await self._pages([metadata])
        self.server = with_tensors(self.server, page)
        if page is None:  # the model is not there: which are?
            index = await self._asker.page(f"{self._base}/v2/repository/index", "POST", b"{}")
            entries = index.json() if index.status == 200 else None
            names = (
                [e["name"] for e in entries if isinstance(e, dict) and "name" in e] if isinstance(entries, list) else []
            )
            self.server = msgspec.structs.replace(self.server, models=tuple(map(str, names)))

    async def _pages(self, paths: list[str]) -> list[object]:
        """What JSON each has, None for none."""
        found = await asyncio.gather(*(self._asker.page(self._base + path) for path in paths))
        return [page.json() if page.status == 200 else None for page in found]

    # The request

    async def _ask(self) -> tuple[Exchange, float]:
        """The request, with fewer fields where the server refuses some. Raises ValueError as the writer does."""
        target = self._target
        session = Session([Turn(_PROMPT, 10, TOKENS)])
        method = target.raw.method if target.raw is not None else "POST"
        plain = msgspec.structs.replace(self.sending, ignore_eos=False, usage=False, continuous_usage=False)
        for left in reversed(range(TRIES)):
            job = writer(target, 0, [], self.server, self.sending).prepare(session, 0, 0, 0.0)
            began_s = self._clock.monotonic_s()
            found = await self._asker.request(method, path_of(target, target.model), b"".join(job.turns[0].pieces))
            answer_s = self._clock.monotonic_s() - began_s
            if found.status >= 500 and found.status != 503 and left:
                continue  # a server that fails now and then is one to be measured
            if found.status not in (400, 422) or not left:
                break
            fewer = weaker(target, self.sending, found)
            if fewer is None and self.sending != plain and not self.server.kind:
                fewer = plain  # it does not say which: perhaps one of them
            if fewer is None:
                break
            self.sending = fewer
        return found, answer_s

    async def _others(self) -> tuple[str, ...]:
        """Paths that the server does have: those that an empty request is not told to be missing."""
        target = self._target
        ending = PATHS[target.api].replace("${model}", target.model)
        bases = dict.fromkeys((self._base, "", f"{self._base}/openai", "/openai", "/api", "/v1/openai"))
        paths = [base + ending for base in bases]
        paths += [self._base + ending.removeprefix("/v1")] if ending.startswith("/v1") else []
        paths += [self._base + path for api, path in PATHS.items() if path and api != target.api and "$" not in path]
        asked = [_NOWHERE, *(path for path in dict.fromkeys(paths) if path and path != self._path)]
        nowhere, *found = await asyncio.gather(*(self._asker.page(path, "POST", b"{}") for path in asked))
        missing = {0, 301, 302, 307, 308, 404, 405, nowhere.status}
        return tuple(path for path, page in zip(asked[1:], found, strict=True) if page.status not in missing)

    def _judged(self, found: Exchange, answer_s: float) -> Preflight:
        target, reading = self._target, found.reading
        has_text = readers(target.api, peer(target).reader_options).has_text
        streams = target.stream and target.api in STREAMS and target.api != "raw"
        counted = reading is not None and reading.output_tokens >= 0
        if (
            target.continuous_usage is None
            and self.server.kind == "vllm"
            and self.sending.usage
            and found.streamed
            and reading is not None
            and reading.output_tokens > SEVERAL * max(1, found.events)
        ):
            self.sending = msgspec.structs.replace(self.sending, continuous_usage=True)
        problems = shortcomings(target, found, streams, has_text, TOKENS)
        return Preflight(self.server, self.sending, found.streamed, counted or not has_text, answer_s, tuple(problems))
