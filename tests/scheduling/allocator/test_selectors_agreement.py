"""The Python evaluation of selectors against the C++ runtime, on random expressions and devices."""

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.scheduling.allocator.selector_cases import compile_case, device_of
from fairlead.scheduling.allocator.selectors import CompileError, SelectorError
from scheduling.allocator import selector_expressions

# Upstream's estimate leaves out an index into what is no attribute, and looks at the wrong side of these functions.
UNDERESTIMATED = re.compile(r"[)\]]\[(?!\")|startsWith|endsWith")


def _agree(rng: random.Random, faulty: bool) -> None:
    expression = selector_expressions.Expressions(rng, faulty=faulty).boolean(rng.randint(1, 3))
    case = {**selector_expressions.device(rng), "expression": expression}
    try:
        selector = compile_case(case)
    except CompileError:
        return
    device = device_of(case)
    assert selector.counts_cost
    verdicts: list[bool | None] = []
    for evaluate in (selector.matches, selector.matches_in_runtime):
        try:
            verdicts.append(evaluate(device))
        except SelectorError:
            verdicts.append(None)
    assert verdicts[0] == verdicts[1], (expression, case["attributes"], case["capacity"])


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_agrees_with_the_runtime(rng: random.Random) -> None:
    _agree(rng, faulty=False)


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_agrees_on_what_fails(rng: random.Random) -> None:
    _agree(rng, faulty=True)


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_never_costs_more_than_estimated(rng: random.Random) -> None:
    expression = selector_expressions.Expressions(rng, faulty=False).boolean(rng.randint(1, 3))
    case = {**selector_expressions.device(rng), "expression": expression}
    try:
        selector = compile_case(case)
        _, cost = selector.evaluate(device_of(case))
    except (CompileError, SelectorError):
        return
    assert cost is not None
    assert cost <= selector.max_cost or UNDERESTIMATED.search(expression)
