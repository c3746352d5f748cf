"""Filters that look at the pod and one node: the words, and the cases that random fleets do not reach."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.kube.selectors import Requirement
from fairlead.scheduling.filters import refuse_affinity, refuse_closed, refuse_taints, refuse_volumes
from fairlead.scheduling.snapshot import NodeView, Shape, Taint, Term, Toleration, VolumeUse

ZONE, OLD_ZONE = "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"


def node(**fields: Any) -> NodeView:
    return NodeView(**{"name": "n1", "allocatable": {}} | fields)


def shape(**fields: Any) -> Shape:
    return Shape(**{"namespace": "d", "requests": {"pods": 1}} | fields)


def test_a_closed_node_takes_who_tolerates_its_taint() -> None:
    closed = node(unschedulable=True)
    assert refuse_closed(shape(), closed) == "node(s) were unschedulable"
    tolerant = shape(tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists"),))
    assert refuse_closed(tolerant, closed) is None


def test_the_first_taint_that_is_not_tolerated_is_named() -> None:
    marked = node(taints=(Taint("soft", "PreferNoSchedule"), Taint("gpu", "NoSchedule", "a"), Taint("x", "NoExecute")))
    assert refuse_taints(shape(), marked) == "node(s) had untolerated taint {gpu: a}"
    by_value = shape(tolerations=(Toleration("gpu", "Equal", "a"),))
    assert refuse_taints(by_value, marked) == "node(s) had untolerated taint {x: }"
    assert refuse_taints(shape(tolerations=(Toleration("gpu", "Equal", "b"),)), marked) == refuse_taints(
        shape(), marked
    )
    assert refuse_taints(shape(tolerations=(Toleration(operator="Exists", effect="NoSchedule"),)), marked) is not None
    assert refuse_taints(shape(tolerations=(Toleration(operator="Exists"),)), marked) is None


def test_a_term_without_requirements_chooses_no_node() -> None:
    assert refuse_affinity(shape(affinity_terms=()), node()) == "node(s) didn't match Pod's node affinity/selector"
    assert refuse_affinity(shape(affinity_terms=(Term(),)), node()) is not None
    named = Term(fields=(Requirement("metadata.name", "in", ("n1",)),))
    assert refuse_affinity(shape(affinity_terms=(Term(), named)), node()) is None
    assert refuse_affinity(shape(affinity_terms=(named,), node_selector={"a": "b"}), node()) is not None


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (VolumeUse((Term((Requirement("zone", "in", ("a",)),)),)), "node(s) had volume node affinity conflict"),
        (VolumeUse((), is_late=True), "node(s) didn't find available persistent volumes to bind"),
        (VolumeUse(zones=(Requirement(ZONE, "in", ("a",)),)), "node(s) had no available volume zone"),
    ],
)
def test_volumes_bind_pods_to_nodes(use: VolumeUse, reason: str) -> None:
    elsewhere = node(labels={"zone": "b", ZONE: "b"})
    assert refuse_volumes(shape(volumes=(VolumeUse(is_late=True), use)), elsewhere) == reason
    if use.terms != ():
        assert refuse_volumes(shape(volumes=(use,)), node(labels={"zone": "a", ZONE: "a"})) is None


def test_zones_of_old_and_new_names_are_the_same() -> None:
    use = shape(volumes=(VolumeUse(zones=(Requirement(OLD_ZONE, "in", ("a",)),)),))
    assert refuse_volumes(use, node(labels={ZONE: "a"})) is None
    assert refuse_volumes(use, node(labels={ZONE: "b"})) is not None
    assert refuse_volumes(use, node()) is None, "a cluster without zones"
    assert refuse_volumes(use, node(labels={"topology.kubernetes.io/region": "r"})) is not None
