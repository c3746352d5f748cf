"""Rules of request policies: which shares of a capacity may be asked for.

A server compares amounts exactly but takes duplicates and steps by whole numbers, rounded up
(`validateRequestPolicyRangeStep`); both readings must hold here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from fairlead.devices.inventory import RequestPolicy
from fairlead.kube.quantity import Quantity, parse_quantity

MAX_VALID_VALUES: Final = 10
MAX_QUANTITY: Final = 2**63 - 1
"""Servers compute with 64 bit integers; larger amounts overflow there."""


def policy_problems(policy: RequestPolicy, capacity: Quantity) -> Iterator[str]:
    """Clauses that say what is wrong with a policy; `capacity` is all there is."""
    texts = (policy.default, *policy.valid_values, policy.min, policy.max, policy.step)
    wrong = [text for text in texts if text and not _is_amount(text)]
    if wrong:
        yield f'"{wrong[0]}" is not a quantity from zero to 2^63-1'
        return
    has_range = bool(policy.min or policy.max or policy.step)
    if policy.valid_values and has_range:
        yield "it has valid values and a range; give one of the two"
    elif not policy.default:
        yield "it has no default: what does a request get that names no amount?"
    elif policy.valid_values:
        yield from _value_problems(policy, [parse_quantity(text) for text in policy.valid_values], capacity)
    elif has_range:
        yield from _range_problems(policy, capacity)
    elif parse_quantity(policy.default) > capacity:
        yield f"the default {policy.default} is more than the capacity {capacity}"


def _is_amount(text: str) -> bool:
    try:
        return 0 <= parse_quantity(text).amount <= MAX_QUANTITY
    except ValueError:
        return False


def _value_problems(policy: RequestPolicy, values: Sequence[Quantity], capacity: Quantity) -> Iterator[str]:
    if len(values) > MAX_VALID_VALUES:
        yield f"it has {len(values)} valid values, the API allows {MAX_VALID_VALUES}"
    if any(a > b for a, b in pairwise(values)):
        yield f"valid values {', '.join(policy.valid_values)} must be in ascending order"
    if len({value.value for value in values}) < len(values):
        yield f"valid values {', '.join(policy.valid_values)} must differ, also when rounded up to whole numbers"
    if values and max(values) > capacity:
        yield f"valid value {max(values)} is more than the capacity {capacity}"
    if parse_quantity(policy.default) not in values:
        yield f"the default {policy.default} is none of the valid values {', '.join(policy.valid_values)}"


def _range_problems(policy: RequestPolicy, capacity: Quantity) -> Iterator[str]:
    if not policy.min:
        yield "a range needs a minimum"
        return
    low, default = parse_quantity(policy.min), parse_quantity(policy.default)
    high = parse_quantity(policy.max) if policy.max else None
    if low > capacity:
        yield f"the minimum {policy.min} is more than the capacity {capacity}"
    if default < low:
        yield f"the default {policy.default} is below the minimum {policy.min}"
    if high is not None and not low <= high <= capacity:
        yield f"the maximum {policy.max} must be between the minimum {policy.min} and the capacity {capacity}"
    if default > (capacity if high is None else high):
        yield f"the default {policy.default} is more than the {'capacity' if high is None else 'maximum'} allows"
    if policy.step:
        yield from _step_problems(policy, low, capacity)


def _step_problems(policy: RequestPolicy, low: Quantity, capacity: Quantity) -> Iterator[str]:
    step = parse_quantity(policy.step)
    if not step:
        yield "the step is zero"
        return
    if low + step > capacity:
        yield f"one step {policy.step} above the minimum {policy.min} is more than the capacity {capacity}"
    for what, text in (("default", policy.default), ("maximum", policy.max)):
        if text and not _is_on_step(parse_quantity(text), low, step):
            yield f"the {what} {text} is not a whole number of steps ({policy.step}) above the minimum {policy.min}"


def _is_on_step(value: Quantity, low: Quantity, step: Quantity) -> bool:
    above = value - low
    exactly = not above.amount % step.amount if above.amount >= 0 else False
    return exactly and (value.value - low.value) % step.value == 0
