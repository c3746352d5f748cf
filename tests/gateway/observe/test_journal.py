"""Decisions that are kept: how many, and that each can be replayed as it was."""

from __future__ import annotations

from fairlead.gateway.asked import Asked
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.errors import Shape
from fairlead.gateway.observe.journal import Journal
from fairlead.gateway.observe.requests import RequestCounts
from fairlead.gateway.pick import Candidate, Context, Query, decide
from fairlead.gateway.picker import Picked
from fairlead.gateway.plan import PoolPlan, PoolSettings, plan_of
from fairlead.gateway.requests import Api, InferenceRequest
from fairlead.gateway.resolve import Resolved
from fairlead.gateway.route import RequestHead

SETTINGS = PoolSettings()
POOL = Pool("ns/tiny", ("tiny",), (Endpoint("a"), Endpoint("b")))
PLAN: PoolPlan = plan_of(POOL, SETTINGS)


def _context(now_s: float) -> Context:
    candidates = [Candidate("a", 3, 0), Candidate("b", 1, 0)]
    return Context(Query("tiny", prompt_tokens=100), candidates, [0, 0], now_s, 0.5)


def _asked(name: str) -> Asked:
    head = RequestHead("POST", "/", {"x-request-id": name, "authorization": "Bearer secret"})
    series = RequestCounts().of("ns/tiny", "tiny", "tiny", "", 0)
    request = InferenceRequest(Api.CHAT, "tiny")
    resolved = Resolved(POOL, "tiny", "", "")
    return Asked(None, head, Shape.OPENAI, b"", request, resolved, PLAN, Query("tiny"), None, series, print)  # type: ignore[arg-type]


def _keep(journal: Journal, name: str, now_s: float) -> bool:
    context = _context(now_s)
    seen = journal.snapshot(context)
    pick = decide(SETTINGS.profile, context)
    context.candidates[1].in_flight = 99
    if seen is not None:
        journal.keep(_asked(name), seen, Picked(pick, f"pick-{name}", 0))
    return seen is not None


def test_a_sample_is_kept_under_load_and_everything_when_there_is_little():
    journal = Journal(kept=512, per_s=20.0)
    assert sum(_keep(journal, str(n), 100.0 + n / 1000) for n in range(2000)) <= 40 + 2 * 20 + 1
    assert all(_keep(journal, f"later-{n}", 200.0 + n) for n in range(20))


def test_the_oldest_go_first():
    journal = Journal(kept=3, per_s=1000.0)
    for n in range(5):
        _keep(journal, str(n), 10.0 + n)
    assert [row.request_id for row in journal.summaries("", 10)] == ["4", "3", "2"]
    assert journal.find("0") is None
    assert journal.summaries("ns/other", 10) == []


def test_a_record_is_of_the_moment_before_the_decision_and_replays_to_the_same():
    journal = Journal()
    _keep(journal, "r", 10.0)
    record = journal.find("r").record()
    assert [c.in_flight for c in record.candidates] == [3, 1]
    assert record.replay().address == record.picked == "b"
    assert journal.find("last") is journal.find("pick-r")


def test_no_secret_is_in_a_record():
    journal = Journal()
    _keep(journal, "r", 10.0)
    assert b"secret" not in journal.find("r").record().to_json()
