"""Device selectors: CEL expressions that say which devices satisfy a request.

`compile_selector` gives a `Selector`, whose `matches` answers for one `SelectorDevice`. Semantics, wording of messages
and cost limits are those of Kubernetes' dynamic-resource-allocation library.

Most expressions run as Python closures (`selector_evaluation`) with cel-go's exact account of cost. What these do not
know (timestamps, optional values, url and ip functions, …) runs on the C++ runtime, whose own limit of 10,000 loop
iterations then stands for the cost limit.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

from fairlead.kube import cel
from fairlead.scheduling.allocator import selector_cost, selector_literals
from fairlead.scheduling.allocator.selector_device import SelectorDevice, SelectorError
from fairlead.scheduling.allocator.selector_environment import (
    Checked,
    CompileError,
    EnvironmentType,
    Features,
    check,
    check_result,
)
from fairlead.scheduling.allocator.selector_evaluation import Plan, Unsupported, plan
from fairlead.scheduling.allocator.selector_reads import reads_of
from fairlead.scheduling.allocator.selector_steps import CostExceeded
from fairlead.scheduling.allocator.selector_values import Fault, type_name

__all__ = [
    "CompileError",
    "EnvironmentType",
    "Features",
    "Selector",
    "SelectorDevice",
    "SelectorError",
    "check_selector",
    "compile_selector",
]

_CACHED_SELECTORS = 4096
_REMEMBERED_VERDICTS = 4096
_COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"


class Selector:
    """A compiled selector. Evaluation is thread-safe."""

    __slots__ = ("_checked", "_lists", "_plan", "_program", "_verdicts", "expression", "reads")

    def __init__(self, checked: Checked, features: Features) -> None:
        self.expression = checked.expression
        self._checked = checked
        self._lists = features.list_attributes
        self._plan: Plan | None = None
        self._program: cel.Program | None = None
        self.reads = reads_of(checked.tree)
        """All that it reads of a device, driver and sharing apart; None where that cannot be told."""
        self._verdicts: dict[Hashable, bool] = {}  # what it reads -> its verdict
        try:
            self._plan = plan(checked.tree)
        except Unsupported:
            self._program = checked.program()

    @property
    def max_cost(self) -> int:
        """The estimated cost of the worst device; an API server refuses more than `selector_cost.MAX_COST`."""
        return selector_cost.estimate(self._checked)

    @property
    def counts_cost(self) -> bool:
        """Whether evaluations account for their cost as cel-go does."""
        return self._plan is not None

    def matches(self, device: SelectorDevice) -> bool:
        """Whether the device satisfies the selector. Raises SelectorError."""
        key = self._key(device)
        if key is None:
            return self.evaluate(device)[0]
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= _REMEMBERED_VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self.evaluate(device)[0]
            device.release()
        return verdict

    def _key(self, device: SelectorDevice) -> Hashable | None:
        """Equal for devices that it cannot tell apart; None where it has to look."""
        if self.reads is None or not device.is_sound(self._lists):
            return None
        values = tuple(
            [
                device.amount(domain, name) if is_capacity else device.attribute(domain, name)
                for is_capacity, domain, name in self.reads
            ]
        )
        return None if None in values else (device.driver, device.allow_multiple_allocations, values)

    def evaluate(self, device: SelectorDevice) -> tuple[bool, int | None]:
        """The verdict and what it cost, None where the runtime does not count. Raises SelectorError."""
        if self._plan is None:
            return self.matches_in_runtime(device), None
        values = device.values(self._lists)
        try:
            result, cost = self._plan.run(values)
        except Fault as fault:
            raise SelectorError(str(fault)) from None
        except CostExceeded:
            raise SelectorError(_COST_EXCEEDED) from None
        return _verdict(result), cost

    def matches_in_runtime(self, device: SelectorDevice) -> bool:
        """The verdict of the C++ runtime, the arbiter of the faster evaluation. Raises SelectorError."""
        program = self._program or self._checked.program()
        try:
            return _verdict(program.evaluate(device.bindings(self._lists)))
        except cel.EvaluationError as error:
            raise SelectorError(str(error)) from None


@functools.lru_cache(maxsize=_CACHED_SELECTORS)
def compile_selector(
    expression: str,
    *,
    features: Features = Features(),  # noqa: B008 (frozen)
    environment: EnvironmentType = EnvironmentType.STORED,
) -> Selector:
    """The selector of an expression; the same one for the same arguments. Raises CompileError.

    Expressions of stored objects keep running when a feature is switched off; `check_selector` is for new ones.
    """
    checked = check(expression, features, environment)
    selector_literals.check_literals(checked)
    check_result(checked, features)
    return Selector(checked, features)


def check_selector(expression: str, *, features: Features = Features()) -> Selector:  # noqa: B008 (frozen)
    """What an API server checks before it stores a selector: it compiles, and its worst case is not too expensive.

    Raises CompileError.
    """
    selector = compile_selector(expression, features=features, environment=EnvironmentType.NEW)
    if selector.max_cost > selector_cost.MAX_COST:
        raise CompileError("too complex, exceeds cost limit")
    return selector


def _verdict(result: Any) -> bool:
    if type(result) is bool:
        return result
    kind = type_name(result)
    reason = {
        "string": "unsupported native conversion from string to 'bool'",
        "list": "type conversion error from list to 'bool'",
        "kubernetes.Semver": "type conversion error from 'Semver' to 'bool'",
        "kubernetes.Quantity": "type conversion error from 'Quantity' to 'bool'",
    }.get(kind, f"unsupported type conversion from '{kind}' to bool")
    raise SelectorError(f"CEL result of type {kind} could not be converted to bool: {reason}")
