"""What a run came to, in 4 KiB; and the lines of a log that carry all of it."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.api.benchmark import BenchmarkSearch, BenchmarkShown, BenchmarkStage, BenchmarkStatus
from fairlead.bench.cluster import lines
from fairlead.bench.cluster.outcome import MOST_BYTES, Outcome, decode, encode, objective_kept, outcome_of
from fairlead.bench.summary import (
    ClientHealth,
    Distribution,
    Goodput,
    Interval,
    Metrics,
    RunSummary,
    SearchResult,
    SearchStep,
    StageSummary,
    Verdict,
)  # fmt: skip

HEALTH = ClientHealth(0.0, 0.0, 0.0, 0.1, 0.0)


def stage(index: int, rate: float, kept: bool | None = None, valid: bool = True) -> StageSummary:
    ttft = Distribution(100, "s", 0.02, 0.0, 0.01, 0.2, {50.0: 0.02, 99.0: 0.0841})
    goodput = Goodput(0.97, Interval(0.9, 0.99), 97, 100, rate * 0.97, 0.0, kept)
    metrics = Metrics(100, 98, {"TIMEOUT": 2}, 10.0, rate, 0.0, rate * 8, ttft=ttft, goodput=goodput)
    verdict = Verdict(valid, () if valid else ("a worker's core was busy",))
    return StageSummary(index, f"{rate:g}/s", "rate", rate, rate, 0.0, 10.0, metrics, HEALTH, verdict)


def summary(*stages: StageSummary, ended: str = "complete", **more: object) -> RunSummary:
    return RunSummary("20260101-000000-abcd", "", "", 10.0, ended, "", {}, {}, stages, **more)  # type: ignore[arg-type]


def test_the_stage_with_most_answers_is_told_in_a_line_and_all_are_listed() -> None:
    made = outcome_of(summary(stage(0, 4), stage(1, 16, valid=False), stage(2, 8)), "s3://b/x")
    assert made.shown == BenchmarkShown("16/s", "84.1 ms", "15.5/s (97.0%)")
    assert [s.valid for s in made.stages] == [True, False, True] and made.stages[1].why == "a worker's core was busy"
    assert made.stages[0].failed == 2 and not made.valid and made.results == "s3://b/x"


def test_of_a_search_the_best_step_is_told() -> None:
    steps = (SearchStep(0, 4.0, "kept", ""), SearchStep(1, 16.0, "failed", ""))
    found = SearchResult("rate", 4.0, 16.0, steps, "precise enough")
    made = outcome_of(summary(stage(0, 4), stage(1, 16), search=found))
    assert made.shown is not None and made.shown.rate == "4/s"
    assert made.search == BenchmarkSearch("rate", 4.0, 16.0, "precise enough") and made.kept is True


@pytest.mark.parametrize(
    ("kept", "expected"),
    [([True, True], True), ([True, False], False), ([None, True], None), ([None, False], False), ([], None)],
)
def test_the_objective_is_kept_when_all_stages_keep_it(kept: list[bool | None], expected: bool | None) -> None:
    assert objective_kept(summary(*(stage(n, 1, each) for n, each in enumerate(kept)))) is expected


texts = st.text(max_size=300)


@settings(max_examples=40)
@given(st.builds(
    Outcome, texts, texts, texts, st.booleans(),
    stages=st.lists(st.builds(BenchmarkStage, st.integers(0, 99), st.booleans(), name=texts, why=texts), max_size=32),
    notes=st.lists(texts, max_size=8),
))  # fmt: skip
def test_what_a_pod_can_say_at_its_end_is_kept_to_its_length(outcome: Outcome) -> None:
    outcome = msgspec.structs.replace(outcome, why=outcome.why * 9, run=outcome.run[:40], ended="complete")
    outcome = msgspec.structs.replace(outcome, results="s3://" + "b" * 2000, problem="x" * 200)
    data = encode(outcome)
    assert len(data) <= MOST_BYTES
    read = decode(data.decode())
    assert read is not None and read.run == outcome.run and read.valid == outcome.valid
    assert len(read.stages) + read.omitted == len(outcome.stages)


@pytest.mark.parametrize("message", ["", "Killed", "{}", '{"outcome":"other","ended":"complete"}', "[1]", "\x00"])
def test_other_words_are_no_outcome(message: str) -> None:
    assert decode(message) is None


def test_every_field_of_an_outcome_has_its_place_in_the_status() -> None:
    assert {"stages", "search", "shown", "notes", "results", "run", "ended"} <= {*BenchmarkStatus.__struct_fields__}


@settings(max_examples=20)
@given(st.integers(1, 60_000), st.randoms())
def test_a_summary_goes_through_a_log_in_whatever_order_its_parts_come(size: int, order: random.Random) -> None:
    made = msgspec.structs.replace(summary(stage(0, 4)), config={"noise": order.randbytes(size).hex()})
    written = [lines.write(part) for part in lines.parts(made)]
    assert all(len(line) < 9000 for line in written)
    order.shuffle(written)
    assembly = lines.Assembly()
    for line in written:
        assert assembly.summary() is None
        read = lines.read(line)
        assert isinstance(read, lines.Part)
        assembly.add(read)
    whole = assembly.summary()
    assert (
        whole is not None
        and whole.config == made.config
        and whole.stages[0].metrics.ttft == made.stages[0].metrics.ttft
    )


def test_a_damaged_summary_and_lines_of_others_are_told_apart() -> None:
    assert lines.read("Traceback (most recent call last):") is None
    assert lines.read('{"say": "other"}') is None
    assembly = lines.Assembly()
    assembly.add(lines.Part(0, 1, "bm9uc2Vuc2U="))
    with pytest.raises(ValueError, match="is damaged"):
        assembly.summary()
    assembly.add(lines.Part(7, 2, ""))
    assembly.add(lines.Part(0, 10**9, ""))
    assert lines.read(lines.write(lines.Said("hello"))) == lines.Said("hello")
