"""Outlier detection: who is out for how long, and that a pool never loses too much."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.outliers import BASE_S, FAILURES, FORGIVE_S, MAX_S, REFUSALS, Outliers

POOL = ("a", "b", "c", "d")


def fail(outliers, address, now_s=0.0, times=FAILURES, pool=POOL):
    return [outliers.failed(address, now_s, pool) for _ in range(times)]


def test_failures_in_a_row_take_an_endpoint_out():
    outliers = Outliers()
    assert fail(outliers, "a") == [None] * (FAILURES - 1) + [BASE_S]
    assert outliers.is_out("a")
    assert fail(outliers, "a") == [None] * FAILURES  # requests that were on their way


def test_a_success_between_starts_the_count_anew():
    outliers = Outliers()
    fail(outliers, "a", times=FAILURES - 1)
    outliers.succeeded("a", 1.0)
    assert not outliers.is_suspect("a")
    assert fail(outliers, "a", times=FAILURES - 1) == [None] * (FAILURES - 1)


def test_each_time_is_twice_as_long_until_it_has_been_well_for_long():
    outliers, now_s, outs = Outliers(), 0.0, []
    for _ in range(7):
        outs.append(next(out for _ in range(FAILURES) if (out := outliers.failed("a", now_s, POOL)) is not None))
        now_s += outs[-1]
        assert outliers.probed("a", now_s, well=True) is None
    assert outs == [5, 10, 20, 40, 80, MAX_S, MAX_S]
    now_s += FORGIVE_S + 1
    outliers.succeeded("a", now_s)
    assert not outliers.is_suspect("a")
    assert fail(outliers, "a", now_s)[-1] == BASE_S


def test_on_probation_one_failure_is_enough_and_one_success_clears():
    outliers = Outliers()
    fail(outliers, "a")
    assert outliers.probed("a", 5.0, well=False) == 2 * BASE_S
    assert outliers.probed("a", 15.0, well=True) is None
    assert outliers.failed("a", 16.0, POOL) == 4 * BASE_S
    outliers.probed("a", 40.0, well=True)
    outliers.succeeded("a", 41.0)
    assert outliers.failed("a", 42.0, POOL) is None


def test_refusals_in_a_row_take_an_endpoint_out_whose_siblings_serve():
    outliers = Outliers()
    assert [outliers.refused("a", 0.0, POOL) for _ in range(REFUSALS)] == [None] * (REFUSALS - 1) + [BASE_S]
    assert outliers.probed("a", 5.0, well=True) is None
    # Back with a count of its own.
    assert [outliers.refused("a", 6.0, POOL) for _ in range(REFUSALS)] == [None] * (REFUSALS - 1) + [2 * BASE_S]


def test_while_a_sibling_refuses_too_nobody_goes_out():
    outliers = Outliers()
    assert outliers.refused("b", 0.0, POOL) is None
    assert [outliers.refused("a", 0.0, POOL) for _ in range(3 * REFUSALS)] == [None] * 3 * REFUSALS
    outliers.succeeded("b", 1.0)
    assert outliers.refused("a", 1.0, POOL) == BASE_S


def test_a_success_between_refusals_starts_their_count_anew():
    outliers = Outliers()
    for _ in range(3 * REFUSALS):
        assert [outliers.refused("a", 0.0, POOL) for _ in range(REFUSALS - 1)] == [None] * (REFUSALS - 1)
        outliers.succeeded("a", 0.0)
    assert [outliers.refused("x", 0.0, ("x",)) for _ in range(3 * REFUSALS)] == [None] * 3 * REFUSALS


def test_half_of_a_pool_stays_and_so_does_an_only_endpoint():
    outliers = Outliers()
    assert [fail(outliers, address)[-1] for address in POOL] == [BASE_S, BASE_S, None, None]
    assert sorted(outliers.out) == ["a", "b"]
    assert fail(Outliers(), "x", pool=("x",), times=20) == [None] * 20


def test_what_is_forgotten_is_in():
    outliers = Outliers()
    fail(outliers, "a")
    outliers.forget("a")
    assert not outliers.is_out("a")
    assert outliers.probed("a", 1.0, well=False) is None


@given(st.lists(st.tuples(st.sampled_from(POOL), st.sampled_from(["fail", "ok", "well", "ill"])), max_size=80))
def test_never_more_than_half_are_out_and_memory_is_of_suspects_only(steps):
    outliers = Outliers()
    for now_s, (address, what) in enumerate(steps):
        if what == "fail":
            outliers.failed(address, now_s, POOL)
        elif what == "ok":
            outliers.succeeded(address, now_s)
        else:
            outliers.probed(address, now_s, well=what == "well")
        assert len(list(outliers.out)) <= len(POOL) // 2
