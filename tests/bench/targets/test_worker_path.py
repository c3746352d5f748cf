"""What is written is sent, and what comes back is read, by a worker's own connections: every API, several turns."""

from __future__ import annotations

import asyncio
import signal

import pytest

from fairlead.bench.config import RawRequest, Target
from fairlead.bench.record import Outcome, Record
from fairlead.bench.session import Session, Turn
from fairlead.bench.targets.writing import peer, writer
from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.beat import Beat
from fairlead.bench.worker.pool import Pool
from fairlead.bench.worker.sessions import Sessions
from patience import PATIENCE_S
from simulator.conftest import EngineProcess, start_engine


@pytest.fixture(scope="module")
def engine() -> EngineProcess:
    with asyncio.Runner() as runner:
        one = runner.run(start_engine("--ttft-ms", "1", "--itl-ms", "1", "--enable-prompt-tokens-details"))
        yield one
        runner.run(one.stop(signal.SIGKILL))


async def sent(target: Target, session: Session) -> list[Record]:
    """The records of all turns."""
    loop = asyncio.get_running_loop()
    pool = Pool(peer(target), loop)
    await pool.resolve()
    alarm = Alarm(loop)
    sessions, over = Sessions([pool], alarm, 0, Beat(loop, alarm)), asyncio.Event()
    try:
        sessions.begin(writer(target, 0, []).prepare(session, 0, 0, 0.0), 0.0, lambda *_: over.set())
        async with asyncio.timeout(PATIENCE_S):
            await over.wait()
        return list(sessions.records)
    finally:
        pool.close()


RAW = RawRequest(
    body='{"model": "${model}", "prompt": "${prompt}", "max_tokens": ${output_tokens}, "ignore_eos": true}',
    text="/choices/0/text", output_tokens="/usage/completion_tokens", prompt_tokens="/usage/prompt_tokens",
)  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages", "raw"])
async def test_turns_grow_by_the_answers_before_them(engine, api, stream):
    more = {"api": "raw", "raw": RAW, "path": "/v1/completions"} if api == "raw" else {"api": api}
    session = Session([Turn(f"Say something about {what}, “please”.\n", 9, 12) for what in ("rain", "snow", "fog")])
    records = await sent(Target(url=engine.url, model="tiny", stream=stream, **more), session)
    assert [(r.turn, Outcome(r.outcome), r.detail) for r in records] == [(t, Outcome.WHOLE, "") for t in range(3)]
    prompts = [r.server_prompt_tokens for r in records]
    # Each prompt has the turn and the answer before it in it.
    assert prompts[0] + 8 < prompts[1] and prompts[1] + 8 < prompts[2]
    for record in records:
        forced = api in ("chat", "completions", "raw")
        assert record.server_output_tokens == 12 if forced else 1 <= record.server_output_tokens <= 12
        expected = record.server_output_tokens if stream and api != "raw" else 1
        # An answer's last token has no text when the answer ends by itself.
        assert expected - 1 <= record.output_chunks <= expected
        assert record.finish_reason or api == "raw"
    if api in ("chat", "completions", "responses"):
        assert records[2].server_cached_tokens > 0


async def test_results_of_tools_are_taken(engine):
    turns = [Turn("What is the weather?", 5, 6), Turn("12 degrees", 3, 6, role="tool"), Turn("And now?", 3, 6)]
    for api in ("chat", "responses", "messages"):
        records = await sent(Target(url=engine.url, model="tiny", api=api), Session(turns))
        assert [r.outcome for r in records] == [Outcome.WHOLE] * 3, (api, [r.detail for r in records])


async def test_embeddings_and_an_error_of_the_model(engine):
    (record,) = await sent(Target(url=engine.url, model="tiny", api="embeddings"), Session([Turn("hello", 2, None)]))
    assert record.outcome == Outcome.WHOLE and record.server_prompt_tokens > 0
    (record,) = await sent(Target(url=engine.url, model="none"), Session([Turn("hello", 2, 3), Turn("again", 2, 3)]))
    assert record.outcome == Outcome.HTTP_4XX and "none" in record.detail
