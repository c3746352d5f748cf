"""PodDisruptionBudgets: how many pods may still be evicted, and who would be one too many.

They are honoured whatever the eviction is for. Only a preemptor of system-critical priority may go beyond them, and
only where nothing else helps: kube-scheduler lets every preemptor do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import to_builtins

from fairlead.kube.objects.policy import PodDisruptionBudget
from fairlead.kube.selectors import NOTHING, Selector, from_label_selector
from fairlead.scheduling.eviction.rights import Cause, Denial
from fairlead.scheduling.snapshot import PodView


@dataclass(frozen=True, slots=True)
class Budget:
    """One of them."""

    namespace: str
    name: str
    selector: Selector
    allowed: int
    """Pods that may go now."""
    disrupted: frozenset[str] = frozenset()
    """Names of pods whose eviction is counted already."""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def budget_of(obj: PodDisruptionBudget) -> Budget:
    """What an object allows. Nothing where its status is missing or not yet about the spec that is there."""
    status = obj.status
    is_current = (status.observed_generation or 0) >= (obj.metadata.generation or 0)
    allowed = max(0, status.disruptions_allowed or 0) if is_current else 0
    spec = obj.spec.selector
    try:
        # A selector that is not there matches no pod, an empty one all of the namespace, as in policy/v1.
        selector = NOTHING if spec is None else from_label_selector(to_builtins(spec))
    except ValueError:
        selector, allowed = Selector(), 0
    return Budget(obj.metadata.namespace, obj.metadata.name, selector, allowed, frozenset(status.disrupted_pods or ()))


class Budgets:
    """All of a cluster's; a new value is made when one changes. Which of them are for a pod is remembered."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self.all: tuple[Budget, ...] = tuple(budgets)
        self._by_namespace: dict[str, list[int]] = {}
        for number, budget in enumerate(self.all):
            self._by_namespace.setdefault(budget.namespace, []).append(number)
        self._known: dict[str, tuple[PodView, tuple[int, ...]]] = {}

    @classmethod
    def of_objects(cls, objects: Iterable[PodDisruptionBudget]) -> Budgets:
        return cls(map(budget_of, objects))

    def over(self, pod: PodView) -> tuple[int, ...]:
        """Numbers of the budgets that count a pod's eviction."""
        if not self.all or pod.namespace not in self._by_namespace:
            return ()
        known = self._known.get(pod.uid)
        if known is None or known[0] is not pod:
            known = self._known[pod.uid] = (
                pod,
                tuple(n for n in self._by_namespace[pod.namespace] if self._counts(n, pod)),
            )
        return known[1]

    def _counts(self, number: int, pod: PodView) -> bool:
        budget = self.all[number]
        return budget.selector.matches(pod.labels) and pod.name not in budget.disrupted

    def counted(self, pods: Iterable[PodView]) -> dict[int, int]:
        """By number of the budget, how many of these it counts."""
        counts: dict[int, int] = {}
        if self.all:
            for pod in pods:
                for number in self.over(pod):
                    counts[number] = counts.get(number, 0) + 1
        return counts

    def tally(self, already: Mapping[int, int] | None = None, *, binds: bool = True) -> BudgetTally:
        """Nothing taken yet but `already`, of whom the budgets' status does not know. Without `binds` what is beyond a
        budget is only counted."""
        return BudgetTally(self, already or {}, binds)


class BudgetTally:
    """What a plan takes of the budgets."""

    def __init__(self, budgets: Budgets, already: Mapping[int, int], binds: bool) -> None:
        self._budgets = budgets
        self._binds = binds
        self._taken = dict(already)

    def take(self, pods: Sequence[PodView]) -> Denial | None:
        """Pods are to go. None: noted; else nothing is changed, and which budget is against it."""
        if not self._budgets.all:
            return None
        for number, pod in enumerate(pods):
            for over in self._budgets.over(pod):
                self._taken[over] = self._taken.get(over, 0) + 1
            if self._binds and (full := self._exceeded(pod)) is not None:
                self.give_back(pods[: number + 1])
                what = f"{full.full_name} allows {full.allowed} more disruption{'' if full.allowed == 1 else 's'}"
                return Denial(Cause.BUDGET, f"protected: PodDisruptionBudget {what}")
        return None

    def give_back(self, pods: Sequence[PodView]) -> None:
        if not self._budgets.all:
            return
        for pod in pods:
            for over in self._budgets.over(pod):
                self._taken[over] -= 1

    @property
    def violations(self) -> int:
        """Evictions beyond what the budgets allow; a pod counts once for each budget."""
        return sum(max(0, taken - self._budgets.all[n].allowed) for n, taken in self._taken.items())

    def _exceeded(self, pod: PodView) -> Budget | None:
        for over in self._budgets.over(pod):
            if self._taken[over] > self._budgets.all[over].allowed:
                return self._budgets.all[over]
        return None
