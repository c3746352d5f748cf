"""What the status of a queue says, and how a spec is read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.api.queue import Queue, QueueResource, QueueSpec, QueueStatus
from fairlead.scheduling.queues.order import Backlog
from fairlead.scheduling.queues.read import read_queue, view_of
from fairlead.scheduling.queues.shares import fair_shares
from fairlead.scheduling.queues.tree import Entitlement, QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings, Running
from fairlead.scheduling.queues.view import report
from scheduling.queues.queue_objects import GPU, gang, queue


def test_report() -> None:
    tree = QueueTree([queue("o"), queue("a", 2, parent="o", limit=6), queue("b", parent="o"), queue("x", parent="no")])
    holdings = Holdings(tree, [Running("r", "a", {"cpu": 1500, "memory": 3 * 2**30, GPU: 1})])
    backlog = Backlog(tree, holdings, fair_shares(tree, {}, {}), 0.0)
    backlog.add(gang("p"), "a", {"cpu": 4000, "memory": 2**30, GPU: 8})
    backlog.add(gang("q"), "b", {GPU: 1})
    capacity = {"cpu": 64000, "memory": 2**40, GPU: 4}
    shares = fair_shares(tree, capacity, backlog.requested())
    reports = report(tree, holdings, shares, backlog, {"a": {GPU: 0.123456789}})
    assert reports["a"].as_status() == {
        "allocated": {"cpu": "1500m", "memory": "3Gi", GPU: "1"},
        "requested": {"cpu": "5500m", "memory": "4Gi", GPU: "6"},
        "fairShare": {"cpu": "5500m", "memory": "4Gi", GPU: "3"},
        "pending": 1,
        "usage": {GPU: 0.123457},
    }
    assert reports["o"].pending == 2 and reports["o"].allocated[GPU] == 1 and reports["o"].fair_share[GPU] == 4
    assert reports["default"].as_status() == {
        "allocated": {},
        "requested": {},
        "fairShare": {},
        "pending": 0,
        "usage": {},
    }
    problem = reports["x"].problem
    assert problem is not None and problem.reason == "ParentMissing"
    assert reports["a"].problem is None
    assert msgspec.convert(reports["a"].as_status(), QueueStatus).fair_share == {
        "cpu": "5500m",
        "memory": "4Gi",
        GPU: "3",
    }
    assert set(reports) == {"o", "a", "b", "x", "default"}


def test_read_queue() -> None:
    spec = {
        "parent": "org",
        "priority": 3,
        "resources": {
            "cpu": {"quota": "1500m", "limit": 4},
            "memory": {"quota": "64Gi"},
            GPU: {"overQuotaWeight": 2.5, "limit": "8"},
            "other": {},
        },
        "reclaimMinRuntimeSeconds": 600,
        "preemptMinRuntimeSeconds": 0,
        "usageHalfLifeSeconds": 3600,
        "namespaces": ["x", "y"],
    }
    assert read_queue("a", spec) == QueueView(
        "a",
        "org",
        3,
        {
            "cpu": Entitlement(1500, 1.0, 4000),
            "memory": Entitlement(64 * 2**30),
            GPU: Entitlement(None, 2.5, 8),
            "other": Entitlement(),
        },
        600.0,
        0.0,
        3600.0,
        ("x", "y"),
    )
    assert read_queue("a", {}) == QueueView("a")


def test_view_of_an_object() -> None:
    resources = {"cpu": QueueResource("500m", 2.0), GPU: QueueResource(limit=8)}
    spec = QueueSpec("org", 1, resources, reclaim_min_runtime_seconds=60, usage_half_life_seconds=10, namespaces=["x"])
    assert view_of(Queue({"name": "a"}, spec)) == QueueView(
        "a", "org", 1, {"cpu": Entitlement(500, 2.0), GPU: Entitlement(limit=8)}, 60.0, None, 10.0, ("x",)
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"parent": 3}, "spec.parent is 3; it must be a text"),
        ({"priority": "high"}, "spec.priority is 'high'; it must be a whole number"),
        ({"priority": True}, "spec.priority is True"),
        ({"resources": []}, "spec.resources is []; it must be an object"),
        ({"resources": {"cpu": 3}}, "spec.resources[cpu] is 3; it must be an object"),
        ({"resources": {"cpu": {"quota": "many"}}}, "spec.resources[cpu].quota is 'many'; it must be a quantity"),
        ({"resources": {"cpu": {"overQuotaWeight": "1"}}}, "spec.resources[cpu].overQuotaWeight is '1'"),
        ({"reclaimMinRuntimeSeconds": "1h"}, "spec.reclaimMinRuntimeSeconds is '1h'; it must be a number of seconds"),
        ({"namespaces": "x"}, "spec.namespaces is 'x'; it must be a list"),
    ],
)
def test_a_wrong_spec_names_the_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        read_queue("a", spec)
    assert message in str(error.value)
