"""The next load, by what has been tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.config.load import Search
from fairlead.bench.search.strategy import Done, Tried, Try, next_step

OUTCOMES = ("kept", "failed", "saturated", "undecided", "invalid")


def tried(load: float, decision: str, attainment: float | None = None) -> Tried:
    return Tried(load, decision, "because", attainment, 0.95)


def test_begins_at_low_and_doubles() -> None:
    search = Search(low=3.0)
    assert next_step([], search) == Try(3.0)
    assert next_step([tried(3.0, "kept")], search) == Try(6.0)
    assert next_step([tried(3.0, "kept"), tried(6.0, "kept")], search) == Try(12.0)


def test_goes_down_where_low_fails() -> None:
    search = Search(low=8.0)
    assert next_step([tried(8.0, "failed")], search) == Try(4.0)
    done = next_step([tried(8.0 / 64, "failed")], search)
    assert isinstance(done, Done) and done.best is None and "0.125" in done.why


def test_high_is_the_last() -> None:
    search = Search(low=3.0, high=5.0)
    assert next_step([tried(3.0, "kept")], search) == Try(5.0)
    done = next_step([tried(3.0, "kept"), tried(5.0, "kept")], search)
    assert done == Done(5.0, None, "the highest load to try (high 5) was kept")


def test_a_failure_below_what_was_kept_counts() -> None:
    done = next_step([tried(4.0, "kept"), tried(4.1, "failed"), tried(8.0, "kept")], Search())
    assert isinstance(done, Done) and (done.best, done.failed) == (4.0, 4.1)


def test_too_few_requests_to_judge_by_are_not_tried_for_ever() -> None:
    done = next_step([tried(0.1, "undecided")], Search(low=0.1))
    assert isinstance(done, Done) and done.best is None and "raise max_step_s, or low" in done.why


def test_a_client_that_cannot_keep_up_ends_the_search_and_is_named() -> None:
    history = [tried(4.0, "kept"), tried(8.0, "invalid"), tried(8.0, "invalid")]
    assert next_step(history[:2], Search()) == Try(8.0)
    done = next_step(history, Search())
    assert isinstance(done, Done) and done.best == 4.0 and "the client could not send 8" in done.why


@given(
    st.sampled_from(["rate", "users"]), st.floats(0.1, 50), st.floats(0.01, 0.3), st.floats(0.5, 2000),
    st.one_of(st.none(), st.floats(60, 3000)),
)  # fmt: skip
def test_ends_with_the_wall_between_its_bounds(
    of: str, low: float, precision: float, wall: float, high: float | None
) -> None:
    search = Search(of=of, low=low, precision=precision, high=high, max_steps=60)  # type: ignore[arg-type]
    history: list[Tried] = []
    while not isinstance(following := next_step(history, search), Done):
        assert following.load not in [t.load for t in history]
        assert of == "rate" or following.load == int(following.load) >= 1
        history.append(tried(following.load, "kept" if following.load <= wall else "failed"))
    if following.best is not None:
        assert following.best <= wall
    if following.failed is not None:
        assert following.failed > wall
    if following.best is not None and following.failed is not None:
        assert following.failed / following.best - 1 <= precision or (
            of == "users" and following.failed - following.best <= 1
        )


@given(
    st.lists(st.tuples(st.floats(0.1, 1000), st.sampled_from(OUTCOMES), st.floats(0, 1)), max_size=25),
    st.floats(0, 0.5),
)
def test_whatever_has_been_tried_the_bounds_are_not_crossed(
    history: list[tuple[float, str, float]], precision: float
) -> None:
    following = next_step([tried(*each) for each in history], Search(precision=precision))
    if isinstance(following, Done) and following.best is not None and following.failed is not None:
        assert following.best < following.failed
    assert len(history) < 20 or isinstance(following, Done)
