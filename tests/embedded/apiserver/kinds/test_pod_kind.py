"""Pods: defaults, what admission adds, refusals, updates, warnings."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from fairlead.embedded.apiserver.registry import Object
from fairlead.kube.errors import Forbidden

UNREADY = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]


def container(**parts: Any) -> Object:
    return {"name": "c", "image": "i", **parts}


def pod(*containers: Object, **spec: Any) -> Object:
    return {"spec": {"containers": list(containers) or [container()], **spec}}


def test_defaults(kinds: Any) -> None:
    obj = kinds.made("Pod", pod(container(ports=[{"containerPort": 80}], readinessProbe={"httpGet": {"port": 80}})))
    assert obj["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("host:5000/a", "Always"),
        ("host:5000/a:1", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(kinds: Any, image: str, policy: str) -> None:
    assert kinds.made("Pod", pod(container(image=image)))["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_requests_follow_limits(kinds: Any) -> None:
    obj = kinds.made("Pod", pod(container(resources={"limits": {"cpu": "1", "memory": "1Gi"}})))
    assert obj["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_new_pods_are_pending_with_a_quality_of_service(kinds: Any, resources: Object, quality: str) -> None:
    obj = kinds.accepted("Pod", {**pod(container(resources=resources)), "status": {"phase": "Running"}})
    assert obj["status"] == {"phase": "Pending", "qosClass": quality}


def test_a_gated_pod_says_so(kinds: Any) -> None:
    (condition,) = kinds.accepted("Pod", pod(schedulingGates=[{"name": "a.io/b"}]))["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "SchedulingGated")


def test_service_account_and_token(kinds: Any) -> None:
    spec = kinds.accepted("Pod", pod())["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert len(volume["name"]) == len("kube-api-access-") + 5
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    ]


def test_no_token_where_nobody_wants_one(kinds: Any) -> None:
    assert "volumes" not in kinds.accepted("Pod", pod(automountServiceAccountToken=False))["spec"]
    account = {"metadata": {"namespace": "n", "name": "quiet"}, "automountServiceAccountToken": False}
    kinds.store("ServiceAccount", {**account, "imagePullSecrets": [{"name": "s"}]})
    spec = kinds.accepted("Pod", pod(serviceAccountName="quiet"))["spec"]
    assert "volumes" not in spec
    assert spec["imagePullSecrets"] == [{"name": "s"}]


def test_a_missing_service_account_is_refused(kinds: Any) -> None:
    with pytest.raises(Forbidden, match='error looking up service account n/a: serviceaccount "a" not found'):
        kinds.create("Pod", pod(serviceAccountName="a"))


def test_priority_comes_from_the_class(kinds: Any) -> None:
    kinds.store("PriorityClass", {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"})
    spec = kinds.accepted("Pod", pod(priorityClassName="high"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")
    assert kinds.accepted("Pod", pod())["spec"]["priority"] == 0
    with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
        kinds.create("Pod", pod(priorityClassName="low"))
    with pytest.raises(Forbidden, match="must not be provided in pod spec"):
        kinds.create("Pod", pod(priorityClassName="high", priority=8))


def test_pods_stay_for_a_while_on_unready_nodes(kinds: Any) -> None:
    tolerations = kinds.accepted("Pod", pod())["spec"]["tolerations"]
    assert [(t["key"], t["effect"], t["tolerationSeconds"]) for t in tolerations] == [
        (key, "NoExecute", 300) for key in UNREADY
    ]
    forever = [{"operator": "Exists"}]
    assert kinds.accepted("Pod", pod(tolerations=forever))["spec"]["tolerations"] == forever


_CLAIM = [{"name": "g", "resourceClaimName": "c"}]
_SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (pod(), []),
        ({"spec": {}}, ["spec.containers: Required value"]),
        (pod(container(), container()), ['spec.containers[1].name: Duplicate value: "c"']),
        (pod(container(image="")), ["spec.containers[0].image: Required value"]),
        (
            pod(restartPolicy="Sometimes"),
            [
                'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
            ],
        ),
        (
            pod(container(env=[{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}])),
            ['spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            pod(container(ports=[{"containerPort": 0}])),
            ["spec.containers[0].ports[0].containerPort: Required value"],
        ),
        (
            pod(container(volumeMounts=[{"name": "v", "mountPath": "/a"}])),
            ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}}] * 2),
            ['spec.volumes[1].name: Duplicate value: "v"'],
        ),
        (
            pod(container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (pod(container(resources={"claims": [{"name": "g"}]}), resourceClaims=_CLAIM), []),
        (
            pod(container(resources={"claims": [{"name": "h"}]}), resourceClaims=_CLAIM),
            [
                'spec.containers[0].resources.claims[0]: Not found: "h": '
                "must be one of the names in pod.spec.resourceClaims: g"
            ],
        ),
        (
            pod(topologySpreadConstraints=[{**_SPREAD, "maxSkew": -1}]),
            ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: -1: must be greater than zero"],
        ),
        (
            pod(container(livenessProbe={"httpGet": {"port": 80}, "successThreshold": 2})),
            ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            pod(ephemeralContainers=[container(name="e")]),
            ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
    ],
)
def test_refusals(kinds: Any, body: Object, expected: list[str]) -> None:
    assert kinds.problems("Pod", body) == expected


def _edit(path: str, value: Any) -> Callable[[Object], None]:
    def edit(obj: Object) -> None:
        *parents, last = path.split(".")
        for name in parents:
            obj = obj[int(name)] if isinstance(obj, list) else obj[name]
        obj[last] = value

    return edit


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.containers.0.image", "j", None),
        ("spec.activeDeadlineSeconds", 5, None),
        ("metadata.labels", {"a": "b"}, None),
        ("spec.tolerations", [{"operator": "Exists"}], "spec.tolerations"),
        ("spec.containers.0.command", ["x"], "spec"),
        ("spec.nodeName", "node", "spec"),
        ("spec.containers", [container(), container(name="d")], "spec.containers"),
        ("metadata.name", "y", "metadata.name"),
    ],
)
def test_what_updates_may_change(kinds: Any, path: str, value: Any, field: str | None) -> None:
    old = kinds.accepted("Pod", pod())
    before = copy.deepcopy(old)
    _, problems = kinds.change("Pod", old, _edit(path, value))
    assert [problem.partition(":")[0] for problem in problems] == ([] if field is None else [field])
    assert old == before


def test_the_refusal_of_an_update_lists_what_may_change(kinds: Any) -> None:
    _, (problem,) = kinds.change("Pod", kinds.accepted("Pod", pod()), _edit("spec.hostNetwork", True))
    assert problem.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    )


def test_a_spec_update_leaves_the_status(kinds: Any) -> None:
    new, problems = kinds.change("Pod", kinds.accepted("Pod", pod()), _edit("status.phase", "Failed"))
    assert not problems
    assert new["status"]["phase"] == "Pending"


def test_warnings(kinds: Any) -> None:
    twice = container(env=[{"name": "A", "value": "1"}] * 2, ports=[{"containerPort": 80}] * 2)
    kinds.accepted("Pod", pod(twice))
    assert kinds.warnings == [
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ]


@pytest.mark.parametrize(
    ("spec", "phase", "requested_s", "grace_s"),
    [
        ({}, "Pending", None, 0),
        ({"nodeName": "a"}, "Running", None, 30),
        ({"nodeName": "a"}, "Running", 5, 5),
        ({"nodeName": "a"}, "Succeeded", 5, 0),
        ({"nodeName": "a", "terminationGracePeriodSeconds": 7}, "Running", None, 7),
    ],
)
def test_graceful_deletion(kinds: Any, spec: Object, phase: str, requested_s: int | None, grace_s: int) -> None:
    obj = {**kinds.made("Pod", pod(**spec)), "status": {"phase": phase}}
    assert kinds.type("Pod").strategy.deletion_grace_s(obj, requested_s) == grace_s
