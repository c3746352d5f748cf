"""What PodDisruptionBudgets allow, read from their objects and counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.kube.objects.policy import PodDisruptionBudget
from fairlead.scheduling.eviction import Budgets, Denial
from fairlead.scheduling.snapshot import PodView
from scheduling.eviction.worlds import shape


def budget(allowed: int | None = 1, selector: Any = None, **status: Any) -> PodDisruptionBudget:
    return msgspec.convert(
        {
            "metadata": {"name": "b", "namespace": "ns", "generation": 2},
            "spec": {} if selector is None else {"selector": selector},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed} | status,
        },
        PodDisruptionBudget,
    )


def pod(name: str = "p", namespace: str = "ns", **labels: str) -> PodView:
    return PodView(namespace, name, f"uid-{namespace}-{name}", shape(1), labels=labels)


X = {"matchLabels": {"app": "x"}}


def test_as_many_may_go_as_the_status_says() -> None:
    tally = Budgets.of_objects([budget(2, X)]).tally()
    assert tally.take([pod("a", app="x"), pod("b", app="x")]) is None
    denial = tally.take([pod("c", app="x")])
    assert isinstance(denial, Denial)
    assert denial.sentence == "protected: PodDisruptionBudget ns/b allows 2 more disruptions"
    tally.give_back([pod("a", app="x")])
    assert tally.take([pod("c", app="x")]) is None


def test_a_refusal_takes_nothing() -> None:
    tally = Budgets.of_objects([budget(1, X)]).tally()
    assert tally.take([pod("a", app="x"), pod("b", app="x")]) is not None
    assert tally.take([pod("a", app="x")]) is None


def test_other_namespaces_and_labels_do_not_count() -> None:
    tally = Budgets.of_objects([budget(0, X)]).tally()
    assert tally.take([pod("a", app="y"), pod("b", namespace="other", app="x")]) is None


@pytest.mark.parametrize(
    ("selector", "counts"),
    [
        (None, False),
        ({}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Like"}]}, True),
    ],
)
def test_selectors_are_those_of_the_api(selector: Any, counts: bool) -> None:
    """No selector matches nothing, an empty one everything; one that cannot be read protects everything."""
    assert (Budgets.of_objects([budget(0, selector)]).tally().take([pod(app="x")]) is not None) == counts


def test_a_status_that_is_missing_or_of_an_older_spec_allows_nothing() -> None:
    for stale in (budget(None, X), budget(5, X, observedGeneration=1)):
        assert Budgets.of_objects([stale]).tally().take([pod(app="x")]) is not None


def test_a_pod_whose_eviction_is_counted_already_is_not_counted_again() -> None:
    tally = Budgets.of_objects([budget(0, X, disruptedPods={"p": "2026-01-01T00:00:00Z"})]).tally()
    assert tally.take([pod("p", app="x")]) is None
    assert tally.take([pod("q", app="x")]) is not None


def test_beyond_a_budget_is_counted_where_it_does_not_bind() -> None:
    tally = Budgets.of_objects([budget(1, X)]).tally(binds=False)
    assert tally.take([pod("a", app="x"), pod("b", app="x"), pod("c", app="x")]) is None
    assert tally.violations == 2
    tally.give_back([pod("a", app="x"), pod("b", app="x")])
    assert tally.violations == 0
