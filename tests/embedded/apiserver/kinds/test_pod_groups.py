"""PodGroup and Workload: defaults, rules, and what is for good."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.kube.errors import Forbidden

GANG = {"schedulingPolicy": {"gang": {"minCount": 2}}}


def test_a_whole_pod_group_is_accepted(kinds: Any) -> None:
    kinds.store("PriorityClass", {"metadata": {"name": "high"}, "value": 7})
    spec = GANG | {
        "podGroupTemplateRef": {"workload": {"workloadName": "w", "podGroupTemplateName": "t"}},
        "schedulingConstraints": {"topology": [{"key": "example.com/rack"}]},
        "resourceClaims": [
            {"name": "a", "resourceClaimName": "claim"},
            {"name": "b", "resourceClaimTemplateName": "template"},
        ],
        "priorityClassName": "high",
    }
    group = kinds.accepted("PodGroup", {"spec": spec, "status": {"conditions": [{"type": "Made"}]}})
    assert group["spec"]["disruptionMode"] == "Pod" and group["spec"]["priority"] == 7
    assert group["status"] == {}, "a status is not for those who make the group"
    basic = kinds.accepted("PodGroup", {"spec": {"schedulingPolicy": {"basic": {}}, "disruptionMode": "PodGroup"}})
    assert basic["spec"]["disruptionMode"] == "PodGroup" and basic["spec"]["priority"] == 0


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"),
        ({"schedulingPolicy": {"basic": {}, "gang": {"minCount": 1}}},
         "spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`"),
        ({"schedulingPolicy": {"gang": {}}}, "spec.schedulingPolicy.gang.minCount: Required value"),
        ({"schedulingPolicy": {"gang": {"minCount": -1}}},
         "spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1"),
        (GANG | {"schedulingConstraints": {"topology": [{"key": "a"}, {"key": "b"}]}},
         "spec.schedulingConstraints.topology: Too many: 2: must have at most 1 items"),
        (GANG | {"schedulingConstraints": {"topology": [{}]}},
         "spec.schedulingConstraints.topology[0].key: Required value"),
        (GANG | {"schedulingConstraints": {"topology": [{"key": "Ex.com/a"}]}},
         "spec.schedulingConstraints.topology[0].key: Invalid value: \"Ex.com/a\": prefix part"),
        (GANG | {"resourceClaims": [{"name": "a"}]},
         "spec.resourceClaims[0]: Invalid value: \"\": must specify one of: `resourceClaimName`"),
        (GANG | {"resourceClaims": [{"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": "y"}]},
         "must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`"),
        (GANG | {"resourceClaims": [{"name": "a", "resourceClaimName": "x"}] * 2},
         "spec.resourceClaims[1]: Duplicate value"),
        (GANG | {"resourceClaims": [{"name": f"c{i}", "resourceClaimName": "x"} for i in range(5)]},
         "spec.resourceClaims: Too many: 5: must have at most 4 items"),
        (GANG | {"resourceClaims": [{"name": "a.b", "resourceClaimName": "x"}]}, "spec.resourceClaims[0].name"),
        (GANG | {"disruptionMode": "All"},
         "spec.disruptionMode: Unsupported value: \"All\": supported values: \"Pod\", \"PodGroup\""),
        (GANG | {"podGroupTemplateRef": {}}, "spec.podGroupTemplateRef: Invalid value: \"\": must specify one of"),
        (GANG | {"podGroupTemplateRef": {"workload": {"workloadName": "w"}}},
         "spec.podGroupTemplateRef.workload.podGroupTemplateName: Required value"),
    ],
)  # fmt: skip
def test_rules_of_pod_groups(kinds: Any, spec: dict[str, Any], problem: str) -> None:
    (found,) = kinds.problems("PodGroup", {"spec": spec})
    assert problem in found


def test_the_priority_of_a_pod_group_is_that_of_its_class(kinds: Any) -> None:
    kinds.store("PriorityClass", {"metadata": {"name": "high"}, "value": 7})
    with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
        kinds.create("PodGroup", {"spec": GANG | {"priorityClassName": "low"}})
    with pytest.raises(Forbidden, match=r"\(8\) must not be provided in pod group spec.* computed 7"):
        kinds.create("PodGroup", {"spec": GANG | {"priorityClassName": "high", "priority": 8}})
    system = kinds.accepted("PodGroup", {"spec": GANG | {"priorityClassName": "system-node-critical"}})
    assert system["spec"]["priority"] == 2_000_001_000


def test_the_spec_of_a_pod_group_is_for_good(kinds: Any) -> None:
    group = kinds.accepted("PodGroup", {"spec": GANG})
    _, problems = kinds.change("PodGroup", group, lambda new: new["metadata"].update(labels={"a": "b"}))
    assert problems == []
    _, problems = kinds.change("PodGroup", group, lambda new: new["spec"].pop("priority"))
    assert problems == [], "what admission computed is kept"
    for key, value in (
        ("schedulingPolicy", {"gang": {"minCount": 3}}),
        ("schedulingConstraints", {"topology": [{"key": "example.com/rack"}]}),
        ("resourceClaims", [{"name": "a", "resourceClaimName": "x"}]),
        ("disruptionMode", "PodGroup"),
        ("priority", 9),
    ):
        _, problems = kinds.change(
            "PodGroup", group, lambda new, key=key, value=value: new["spec"].update({key: value})
        )
        assert len(problems) == 1 and problems[0].startswith(f"spec.{key}: Invalid value: ")
        assert problems[0].endswith("field is immutable")


def test_the_status_of_a_pod_group(kinds: Any) -> None:
    claims = [{"name": "a", "resourceClaimTemplateName": "t"}]
    group = kinds.accepted("PodGroup", {"spec": GANG | {"resourceClaims": claims}})
    strategy, context = kinds.type("PodGroup").strategy, kinds.context()

    def problems(status: dict[str, Any]) -> list[str]:
        return [error.field for error in strategy.validate_status_update({**group, "status": status}, group, context)]

    condition = {
        "type": "PodGroupScheduled",
        "status": "True",
        "reason": "Scheduled",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    made = [{"name": "a", "resourceClaimName": "pg-a-x"}]
    assert problems({"conditions": [condition], "resourceClaimStatuses": made}) == []
    assert problems({"conditions": [{**condition, "status": "Yes"}]}) == ["status.conditions[0].status"]
    assert problems({"resourceClaimStatuses": [{"name": "z"}]}) == ["status.resourceClaimStatuses[0].name"]
    assert problems({"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "X_"}]}) == [
        "status.resourceClaimStatuses[0].resourceClaimName"
    ]


def test_a_whole_workload_is_accepted(kinds: Any) -> None:
    spec = {
        "controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "train"},
        "podGroupTemplates": [{"name": "workers", **GANG}, {"name": "driver", "schedulingPolicy": {"basic": {}}}],
    }
    workload = kinds.accepted("Workload", {"spec": spec})
    assert "disruptionMode" not in workload["spec"]["podGroupTemplates"][0]
    _, problems = kinds.change("Workload", workload, lambda new: new["spec"]["podGroupTemplates"].pop())
    assert len(problems) == 1 and problems[0].startswith("spec.podGroupTemplates: ")
    _, problems = kinds.change("Workload", workload, lambda new: new["spec"].pop("controllerRef"))
    assert len(problems) == 1 and problems[0].startswith("spec.controllerRef: ")


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, ["spec.podGroupTemplates"]),
        ({"podGroupTemplates": [{"name": f"t{i}", **GANG} for i in range(9)]}, ["spec.podGroupTemplates"]),
        ({"podGroupTemplates": [{"name": "t", **GANG}] * 2}, ["spec.podGroupTemplates[1]"]),
        ({"podGroupTemplates": [{"name": "a.b", **GANG}]}, ["spec.podGroupTemplates[0].name"]),
        ({"podGroupTemplates": [{"name": "t"}]}, ["spec.podGroupTemplates[0].schedulingPolicy"]),
        (
            {"podGroupTemplates": [{"name": "t", **GANG}], "controllerRef": {"kind": "a/b"}},
            ["spec.controllerRef.kind", "spec.controllerRef.name"],
        ),
    ],
)
def test_rules_of_workloads(kinds: Any, spec: dict[str, Any], fields: list[str]) -> None:
    assert [problem.split(": ")[0] for problem in kinds.problems("Workload", {"spec": spec})] == fields


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ({}, 'spec.schedulingGroup: Invalid value: "": must specify one of: `podGroupName`'),
        ({"podGroupName": "Bad_"}, "spec.schedulingGroup.podGroupName: Invalid value"),
        ({"podGroupName": ""}, "spec.schedulingGroup.podGroupName: Invalid value"),
    ],
)
def test_the_pod_group_that_a_pod_names(kinds: Any, group: dict[str, Any], problem: str) -> None:
    containers = [{"name": "c", "image": "i"}]
    (found,) = kinds.problems("Pod", {"spec": {"containers": containers, "schedulingGroup": group}})
    assert found.startswith(problem)
    named = {"podGroupName": "train"}
    pod = kinds.accepted("Pod", {"spec": {"containers": containers, "schedulingGroup": named}})
    assert pod["spec"]["schedulingGroup"] == named
    _, problems = kinds.change("Pod", pod, lambda new: new["spec"].update(schedulingGroup={"podGroupName": "other"}))
    assert len(problems) == 1 and problems[0].startswith("spec: Forbidden: pod updates may not change fields")
