"""The estimate of a difference: what is known beforehand is taken off, what all share cancels out, and what requests
have in common widens the uncertainty."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.analysis.estimate import LEAST_BATCHES, Slopes, design_effect, engine_effect, estimate
from fairlead.serving.analysis.evidence import Batch, Lean
from fairlead.serving.analysis.sums import NOTHING, Counts, Sums


def _sums(pairs):
    return Sums(
        len(pairs), sum(x for x, _ in pairs), sum(y for _, y in pairs), sum(x * x for x, _ in pairs),
        sum(x * y for x, y in pairs), sum(y * y for _, y in pairs),
    )  # fmt: skip


def _batch(new, stable):
    return Batch(Counts(len(new), 0, _sums(new)), Counts(len(stable), 0, _sums(stable)))


def _batches(draw, count=30, new=20, stable=60, difference=0.0, shift=0.0, level=0.0, mood=0.0):
    """`shift`: the new version gets longer prompts; `level`: what both have at a time; `mood`: what one has."""
    found = []
    for _ in range(count):
        base, own = draw.gauss(0, level), draw.gauss(0, mood)
        pairs = []
        for n, d, s in ((new, difference + own, shift), (stable, 0.0, 0.0)):
            xs = [draw.gauss(6 + s, 1.0) for _ in range(n)]
            pairs.append([(x, 0.5 * x + base + d + draw.gauss(0, 0.3)) for x in xs])
        found.append(_batch(*pairs))
    return found


def test_a_difference_is_found_within_its_error():
    found = estimate(_batches(random.Random(1), difference=0.1), {}, "ttft")
    assert abs(found.difference - 0.1) < 3 * found.error
    assert found.spread == pytest.approx(0.3, rel=0.1)
    assert (found.new, found.stable, found.freedom) == (600, 1800, 29)


def test_longer_prompts_of_one_version_are_not_its_fault():
    found = estimate(_batches(random.Random(2), shift=0.5), {}, "ttft")
    assert abs(found.difference) < 3 * found.error


def test_what_both_versions_have_at_a_time_costs_no_certainty():
    calm = estimate(_batches(random.Random(3)), {}, "ttft")
    stormy = estimate(_batches(random.Random(3), level=2.0), {}, "ttft")
    assert stormy.error == pytest.approx(calm.error, rel=0.2)


def test_what_one_version_has_at_a_time_does():
    calm = estimate(_batches(random.Random(4)), {}, "ttft")
    moody = estimate(_batches(random.Random(4), mood=0.3), {}, "ttft")
    assert moody.design_effect > 5.0
    assert moody.error > 2 * calm.error


def test_the_share_of_the_traffic_may_change_with_the_time_of_day():
    """The new version gets most of its requests in the slow hour; all together it would look slower."""
    draw = random.Random(5)
    slow = _batches(draw, 15, new=50, stable=50)
    slow = [Batch(_shifted(b.new), _shifted(b.stable)) for b in slow]
    quick = _batches(draw, 15, new=5, stable=95)
    found = estimate([*quick, *slow], {}, "ttft")
    assert abs(found.difference) < 3 * found.error < 0.1


def _shifted(counts):
    n, x, y, xx, xy, yy = counts.ttft[:6]
    return counts._replace(ttft=Sums(n, x, y + n, xx, xy + x, yy + 2 * y + n))


def test_too_few_spans_of_time_tell_nothing():
    assert estimate(_batches(random.Random(6), LEAST_BATCHES - 1), {}, "ttft") is None
    assert estimate([], {}, "ttft") is None
    assert estimate([Batch(NOTHING, NOTHING)] * 50, {}, "ttft") is None
    assert estimate(_batches(random.Random(6)), {}, "itl") is None


def test_one_request_of_each_in_a_batch_leaves_nothing_to_tell_the_spread_from():
    assert estimate([_batch([(1.0, 2.0)], [(1.0, 2.0)])] * 20, {}, "ttft") is None


def test_values_that_are_all_the_same_are_no_reason_to_fail():
    found = estimate([_batch([(1.0, 2.0)] * 5, [(1.0, 2.0)] * 5)] * 20, {}, "ttft")
    assert found.difference == 0.0
    assert 0.0 < found.error < 1e-4


def test_neighbouring_batches_that_resemble_each_other_tell_less():
    draw, values = random.Random(7), [0.0]
    for _ in range(63):
        values.append(0.7 * values[-1] + draw.gauss(0, 1))
    mixed = sorted(values, key=lambda _: draw.random())
    assert design_effect(values, 1.0)[0] > 1.5 * design_effect(mixed, 1.0)[0]
    assert design_effect(values, 1.0)[1] < 32 < design_effect(mixed, 1.0)[1]


def test_independent_batches_have_no_design_effect():
    draw = random.Random(8)
    effects = [design_effect([draw.gauss(0, 1) for _ in range(60)], 1.0)[0] for _ in range(200)]
    assert 1.0 <= sorted(effects)[100] < 1.7


def test_engines_of_one_version_that_differ_make_any_difference_of_versions_less_sure():
    draw = random.Random(9)
    alike = {("stable", str(e)): Lean(1000, 0.0, 1000 * draw.gauss(0, 0.3 / math.sqrt(1000))) for e in range(8)}
    unlike = {("stable", str(e)): Lean(1000, 0.0, 1000 * draw.gauss(0, 0.05)) for e in range(8)}
    more = {("new", "n"): Lean(1000, 0.0, 0.0)}
    variance, share = engine_effect({**unlike, **more}, Slopes(0.0), 0.09, 1.0)
    assert engine_effect({**alike, **more}, Slopes(0.0), 0.09, 1.0)[0] < variance / 10
    assert 0.02 < math.sqrt(variance) < 0.08
    assert share == pytest.approx(1 + 1 / 8)


def test_one_engine_of_each_version_cannot_show_how_engines_differ():
    leans = {("new", "a"): Lean(10, 0.0, 0.0), ("stable", "b"): Lean(10, 0.0, 0.0)}
    assert engine_effect(leans, Slopes(0.0), 1.0, 1.0) == (0.0, 2.0)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=64), st.floats(1e-6, 100))
def test_a_design_effect_is_a_number_of_at_least_one(scaled, variance):
    effect, independent = design_effect(scaled, variance)
    assert 1.0 <= effect < math.inf
    assert 0.0 < independent <= len(scaled)


def _loaded(draw, spans, difference=0.0):
    """Times that are bent in the logarithm of the load, as an engine's are: so much for each iteration, and more for
    each request in it. `spans` are requests in flight at the new version's engines and at the stable one's."""
    found = []
    for new, stable in spans:
        sides = []
        for load, d in ((new, difference), (stable, 0.0)):
            at = [load * math.exp(draw.gauss(0, 0.25)) for _ in range(20)]
            sides.append([(math.log(b), math.log(0.008 + 0.0004 * b) + d + draw.gauss(0, 0.03)) for b in at])
        found.append(_batch(*sides))
    return found


def test_of_engines_with_unlike_loads_nothing_close_can_be_told():
    found = estimate(_loaded(random.Random(10), [(4, 20)] * 60), {}, "ttft")
    assert abs(found.difference) > 0.03
    assert found.correction_error > 0.05
    assert abs(found.difference) < 3 * found.error


def test_what_unlike_loads_leave_open_is_told_by_a_step_with_like_ones():
    found = estimate(_loaded(random.Random(11), [(4, 20)] * 30 + [(20, 20)] * 30, 0.03), {}, "ttft")
    assert found.error < 0.01
    assert abs(found.difference - 0.03) < 3 * found.error


def test_a_second_thing_that_requests_differ_in_is_taken_off_too():
    """Prompts of others that are computed meanwhile: twice as many at the new version's engines as at the others."""
    draw, batches = random.Random(12), []
    for _ in range(60):
        sides = []
        for z0 in (1.0, 0.5):
            z = [draw.gauss(z0, 0.5) for _ in range(20)]
            x = [0.5 * a + draw.gauss(3.0, 0.3) for a in z]
            y = [0.4 * a + 0.3 * b + draw.gauss(0, 0.05) for a, b in zip(x, z, strict=True)]
            sums = _sums(list(zip(x, y, strict=True)))
            xz, zy = (sum(a * b for a, b in zip(z, other, strict=True)) for other in (x, y))
            sides.append(sums._replace(z=sum(z), zz=sum(a * a for a in z), xz=xz, zy=zy))
        batches.append(Batch(*[Counts(20, 0, itl=s) for s in sides]))
    found = estimate(batches, {}, "itl")
    assert found.spread == pytest.approx(0.05, rel=0.1)
    assert abs(found.difference) < 3 * found.error
