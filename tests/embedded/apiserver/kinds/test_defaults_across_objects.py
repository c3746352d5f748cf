"""Rules of a kind that look at other objects or at the whole request: the default priority class, names of events,
errors that are reported once."""

from __future__ import annotations

import dataclasses

import pytest

from fairlead.embedded.apiserver.handlers.patched import quotable
from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.kinds.pod_admission import admit_priority
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.errors import Forbidden

CONTEXT = RequestContext(namespace="n", now="2026-01-01T00:00:00Z")
TYPES = {(t.group, t.resource): t for t in reversed(builtin_types())}
_CLASSES: list[Object] = [
    {"metadata": {"name": "plain"}, "value": 1},
    {"metadata": {"name": "usual"}, "value": 7, "preemptionPolicy": "Never", "globalDefault": True},
]
WITH_DEFAULT = dataclasses.replace(CONTEXT, lookup_all=lambda group, resource: _CLASSES)


def test_only_one_priority_class_is_the_default() -> None:
    strategy = TYPES["scheduling.k8s.io", "priorityclasses"].strategy
    with pytest.raises(Forbidden, match="PriorityClass usual is already marked as default"):
        strategy.admit({"metadata": {"name": "other"}, "globalDefault": True}, None, WITH_DEFAULT)
    strategy.admit({"metadata": {"name": "other"}}, None, WITH_DEFAULT)
    strategy.admit(_CLASSES[1], _CLASSES[1], WITH_DEFAULT)


def test_a_pod_without_a_class_gets_the_default_one() -> None:
    pod: Object = {"metadata": {"name": "p"}, "spec": {}}
    admit_priority(pod, WITH_DEFAULT)
    assert pod["spec"] == {"priorityClassName": "usual", "priority": 7, "preemptionPolicy": "Never"}


def test_an_event_needs_a_name_that_fits_a_path() -> None:
    strategy = TYPES["", "events"].strategy
    event: Object = {"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "n"}}
    assert [error.field for error in strategy.validate_create(event, CONTEXT)] == ["metadata.name"]
    event["metadata"]["name"] = "Any_Name!"
    assert not strategy.validate_create(event, CONTEXT)


def test_ranges_of_a_replication_controller_are_reported_once() -> None:
    strategy = TYPES["", "replicationcontrollers"].strategy
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    old: Object = {"metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"}, "spec": {"template": template}}
    strategy.default(old)
    new = {**old, "spec": {**old["spec"], "replicas": -1}}
    assert [error.field for error in strategy.validate_update(new, old, CONTEXT)] == ["spec.replicas"]


def test_quoted_objects_have_the_order_of_their_structs() -> None:
    container = {"image": "i", "name": "c"}
    pod = {"spec": {"containers": [container], "volumes": []}, "metadata": {"uid": "u", "name": "p"}, "kind": "Pod"}
    quoted = quotable(pod, TYPES["", "pods"])
    assert list(quoted) == ["kind", "metadata", "spec"]
    assert list(quoted["metadata"]) == ["name", "uid"]
    assert list(quoted["spec"]) == ["volumes", "containers"]
    assert list(quoted["spec"]["containers"][0]) == ["name", "image"]
