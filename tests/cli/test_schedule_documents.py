"""Files of API objects: what is wrong is told with file, document, field, value and remedy; the rest is a cluster's."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli.failure import Failed
from fairlead.cli.schedule_documents import BadDocuments, read_documents
from fairlead.cli.schedule_inputs import InputReader, kind_of
from fairlead.kube.objects import Node, Pod, ResourceClaim, ResourceSlice

NOW_S = 1_800_000_000.0
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n"


def errors_of(text: str, folder: Path, name: str = "objects.yaml") -> str:
    """What is said against a file."""
    path = folder / name
    path.write_text(text)
    with pytest.raises(Failed) as caught:
        InputReader(NOW_S).read([path])
    return str(caught.value).replace(f"{folder}/", "")


def pods_of(text: str, folder: Path) -> list[Pod]:
    path = folder / "objects.yaml"
    path.write_text(text)
    return [each for each in InputReader(NOW_S).read([path]).objects if isinstance(each, Pod)]


BAD = {
    "a: [": "objects.yaml: line 2, column 1: not YAML: did not find expected node content",
    "- a": "document 1: expected a mapping with apiVersion, kind and metadata, found list \"['a']\"",
    "# nothing": "objects.yaml: no API objects in there; give YAML or JSON documents with a kind",
    "kind: Pod\nmetadata: {name: p}": "document 1 (Pod p): apiVersion: missing; for Pod write v1",
    "apiVersion: v1\nmetadata: {name: p}": (
        "document 1: kind: expected the kind of an object, such as Pod, found None; add it"
    ),
    POD.replace("kind: Pod", "kind: Pood"): "(Pood p): kind: v1 has no kind 'Pood'; did you mean Pod?",
    POD.replace("v1", "apps/v1beta1").replace("Pod", "Deployment"): (
        "(Deployment p): apiVersion: apps/v1beta1 has no kind Deployment; write apps/v1"
    ),
    POD.replace("image", "imagee"): "(Pod p): spec.containers[0].imagee: there is no such field; did you mean image",
    POD.replace("image: i", "resources: {requests: {cpu: lots}}"): (
        '(Pod p): spec.containers[0].resources.requests[cpu]: "lots" is no quantity; write a number such as "2", "500m"'
    ),
    POD.replace("[{name: c, image: i}]", "3"): "(Pod p): spec.containers: expected a list, found 3",
    POD.replace("{name: p}", "{name: p, labels: {a: 1}}"): (
        "(Pod p): metadata.labels[a]: expected a text, found 1; put it in quotes"
    ),
    POD.replace("{name: p}", "{name: P}"): 'metadata.name: Invalid value: "P": a lowercase RFC 1123 subdomain must',
    POD.replace("spec: {", "spec: {priorityClassName: high, "): (
        "no PriorityClass with name high was found; give what it refers to in one of the files, or leave it out"
    ),
    "kind: Fleet\nnodes: [{name: n, devices: [{model: h100-sxm, count: 1}]}]": (
        'document 1 (Fleet): nodes[0].devices[0].model: no model "h100-sxm"; did you mean h100-sxm-80gb'
    ),
    POD + "---\n" + POD: "metadata.name: there is one of that name already (objects.yaml, document 1); rename it",
    "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {name: l}\nspec: {leaderWorkerTemplate: "
    "{size: 2, workerTemplate: {spec: {containers: [{name: c, imagee: i}]}}}}": (
        "LeaderWorkerSet default/l: its pods are refused: spec.containers[0].imagee: there is no such field; did you"
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_said(text: str, tmp_path: Path) -> None:
    assert BAD[text] in errors_of(text, tmp_path).replace(f"{tmp_path}/", "")


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    bad = POD.replace("image", "imagee")
    text = "---\n".join(bad.replace("{name: p}", f"{{name: p{i}}}") for i in range(25))
    lines = errors_of(text, tmp_path).splitlines()
    assert len(lines) == 22 and lines[-1].strip() == "… and 5 more"


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BadDocuments, match=r"cannot be read: No such file or directory; check the path"):
        read_documents([tmp_path / "none.yaml"])
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadDocuments, match="is not text"):
        read_documents([tmp_path / "bytes.yaml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failed, match=r"the folder has no .yaml, .yml, .json files; name files"):
        read_documents([tmp_path / "empty"])


def test_lists_folders_and_json(tmp_path: Path) -> None:
    items = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}} for name in "ab"]
    (tmp_path / "1.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    (tmp_path / "2.yaml").write_text("apiVersion: v1\nkind: NodeList\nitems: [{metadata: {name: c}}]\n---\n---\n" + POD)
    (tmp_path / "notes.txt").write_text("not read")
    found = read_documents([tmp_path])
    assert [each.name for each in found] == ["Node a", "Node b", "Node c", "Pod p"]
    assert found[2].where.endswith("2.yaml, document 1, items[0] (Node c)")


def test_times_stay_text(tmp_path: Path) -> None:
    stamp = POD.replace("{name: p}", "{name: p, uid: u, creationTimestamp: 2026-01-02T03:04:05Z}")
    (pod,) = pods_of(stamp, tmp_path)
    assert pod.metadata.creation_timestamp == "2026-01-02T03:04:05Z"


def test_defaults_are_those_of_a_server(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 7\n---\n"
        "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: c}\n"
        "spec: {devices: {requests: [{name: r, exactly: {deviceClassName: d}}]}}\n---\n"
        + POD.replace("spec: {", "spec: {priorityClassName: high, ")
    )
    objects = InputReader(NOW_S, "team").read([path]).objects
    (claim,) = [each for each in objects if isinstance(each, ResourceClaim)]
    assert claim.spec.devices is not None
    exactly = claim.spec.devices.requests[0].exactly
    assert exactly is not None and (exactly.allocation_mode, exactly.count) == ("ExactCount", 1)
    (pod,) = [each for each in objects if isinstance(each, Pod)]
    assert (pod.spec.priority, pod.spec.scheduler_name, pod.metadata.namespace) == (7, "default-scheduler", "team")
    assert [t.key for t in pod.spec.tolerations] == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    assert kind_of(objects[0]) == "Namespace" and objects[0].metadata.name == "team"
    assert objects[-1] is pod


def test_stored_objects_are_taken_as_they_are(tmp_path: Path) -> None:
    """A priority that no class explains, as `kubectl get -o yaml` shows it."""
    stored = POD.replace("{name: p}", "{name: p, uid: u, creationTimestamp: '2026-01-02T03:04:05Z'}").replace(
        "spec: {", "status: {phase: Running}\nspec: {nodeName: n, priority: 9, priorityClassName: gone, "
    )
    (pod,) = pods_of(stored, tmp_path)
    assert (pod.spec.priority, pod.spec.node_name, pod.status.phase, pod.metadata.uid) == (9, "n", "Running", "u")


TEMPLATE = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}"


def workload(kind: str, spec: str, api: str = "apps/v1") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: w}}\nspec: {spec}\n"


SET = f"selector: {{matchLabels: {{a: b}}}}, template: {TEMPLATE}"
JOB = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}"
LWS = ("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1")
NODES = (
    "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {gpu: 'yes'}}\n---\n"
    "apiVersion: v1\nkind: Node\nmetadata: {name: n2}\n---\n"
)
WORKLOADS = {
    workload("StatefulSet", f"{{replicas: 2, {SET}}}"): ["w-0", "w-1"],
    workload("ReplicaSet", f"{{replicas: 2, {SET}}}"): ["w-0", "w-1"],
    workload("ReplicaSet", f"{{replicas: 0, {SET}}}"): [],
    workload("Job", f"{{parallelism: 3, completions: 2, completionMode: Indexed, {JOB}}}", "batch/v1"): ["w-0", "w-1"],
    workload("Job", f"{{parallelism: 3, completions: 2, {JOB}}}", "batch/v1"): ["w-0", "w-1"],
    workload("Job", f"{{parallelism: 3, suspend: true, {JOB}}}", "batch/v1"): [],
    workload(LWS[0], f"{{replicas: 2, leaderWorkerTemplate: {{size: 2, workerTemplate: {TEMPLATE}}}}}", LWS[1]): [
        "w-0", "w-0-1", "w-1", "w-1-1",
    ],
    NODES + workload("DaemonSet", f"{{{SET.replace('spec: {', 'spec: {nodeSelector: {gpu: yes}, ')}}}").replace(
        "gpu: yes", "gpu: 'yes'"
    ): ["w-n1"],
}  # fmt: skip


@pytest.mark.parametrize("text", WORKLOADS)
def test_workloads_become_the_pods_of_their_controllers(text: str, tmp_path: Path) -> None:
    assert [each.metadata.name for each in pods_of(text, tmp_path)] == WORKLOADS[text]


def test_services_become_the_pods_of_their_roles_with_claims_and_gangs(tmp_path: Path) -> None:
    text = workload(
        "ModelService",
        "{replicas: 2, model: {name: m, source: /m}, runtime: vllm, accelerators: [{name: a, deviceClass: gpu}], "
        "roles: ["
        "{name: prefill, replicas: 2}, {name: decode, parallelism: {tensor: 4, hosts: 2}}]}",
        "fairlead.dev/v1alpha1",
    )
    path = tmp_path / "objects.yaml"
    path.write_text(text)
    objects = InputReader(NOW_S).read([path]).objects
    pods = [each for each in objects if isinstance(each, Pod)]
    shape = [re.sub("-[0-9a-f]{6}-", "-", pod.metadata.name) for pod in pods]
    assert shape == [
        "w-prefill-0", "w-prefill-1", "w-prefill-2", "w-prefill-3",
        "w-decode-0", "w-decode-0-1", "w-decode-1", "w-decode-1-1",
    ]  # fmt: skip
    claims = [each for each in objects if isinstance(each, ResourceClaim)]
    exact = [claim.spec.devices.requests[0].exactly for claim in claims]
    assert [each.count for each in exact if each] == [
        1, 1, 1, 1, 2, 2, 2, 2,
    ]  # fmt: skip
    gangs = {pod.metadata.labels.get("fairlead.dev/gang", "") for pod in pods if "decode" in pod.metadata.name}
    assert gangs == {pod.metadata.name for pod in pods if re.fullmatch(r"w-decode-[0-9a-f]{6}-\d", pod.metadata.name)}
    assert all("fairlead.dev/gang" not in pod.metadata.labels for pod in pods if "prefill" in pod.metadata.name)


def test_deployments_become_pods_of_a_replica_set_with_claims_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(
        "apiVersion: resource.k8s.io/v1\nkind: ResourceClaimTemplate\nmetadata: {name: t}\n"
        "spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: d}}]}}}\n---\n"
        + workload("Deployment", f"{{replicas: 3, {SET}}}").replace(
            "spec: {containers", "spec: {resourceClaims: [{name: g, resourceClaimTemplateName: t}], containers"
        )
    )  # fmt: skip
    objects = InputReader(NOW_S).read([path]).objects
    pods = [each for each in objects if isinstance(each, Pod)]
    claims = {each.metadata.name: each for each in objects if isinstance(each, ResourceClaim)}
    assert len(pods) == 3 and len(claims) == 3 and len({each.metadata.uid for each in pods}) == 3
    for pod in pods:
        (status,) = pod.status.resource_claim_statuses
        claim = claims[status.resource_claim_name]
        assert claim.metadata.controller is not None and claim.metadata.controller.uid == pod.metadata.uid
        assert pod.metadata.controller is not None and pod.metadata.controller.kind == "ReplicaSet"


def test_leader_worker_sets_label_their_pods(tmp_path: Path) -> None:
    group = f"{{size: 3, subGroupPolicy: {{subGroupSize: 2}}, workerTemplate: {TEMPLATE}}}"
    text = workload(LWS[0], f"{{replicas: 1, leaderWorkerTemplate: {group}}}", LWS[1])
    pods = pods_of(text, tmp_path)
    prefix = "leaderworkerset.sigs.k8s.io/"
    assert [each.metadata.labels[f"{prefix}worker-index"] for each in pods] == ["0", "1", "2"]
    assert {each.metadata.labels[f"{prefix}group-index"] for each in pods} == {"0"}
    assert {each.metadata.annotations[f"{prefix}size"] for each in pods} == {"3"}
    assert [each.metadata.labels[f"{prefix}subgroup-index"] for each in pods] == ["0", "0", "0"]


def test_workloads_whose_pods_are_there_make_no_more(tmp_path: Path) -> None:
    spec = f"{{replicas: 2, {SET}}}"
    owned = POD.replace(
        "{name: p}",
        "{name: p, uid: u, creationTimestamp: '2026-01-02T03:04:05Z', ownerReferences: "
        "[{apiVersion: apps/v1, kind: ReplicaSet, name: w, uid: w-uid, controller: true}]}",
    )
    text = workload("ReplicaSet", spec).replace(
        "{name: w}", "{name: w, uid: w-uid, creationTimestamp: '2026-01-02T03:04:05Z'}"
    )
    assert [each.metadata.name for each in pods_of(f"{text}---\n{owned}", tmp_path)] == ["p"]


def test_fleets_become_nodes_with_slices_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "network: [{name: leaf, nodes: 1}]\nnodes: [{name: n, count: 2, cpu: 8, zone: z, taints: ['a=b:NoSchedule'], "
        "devices: [{model: rngd, count: 2}]}]\n"
    )
    objects = InputReader(NOW_S).read([path]).objects
    nodes = [each for each in objects if isinstance(each, Node)]
    assert [each.metadata.name for each in nodes] == ["n-0", "n-1"]
    labels: dict[str, Any] = dict(nodes[1].metadata.labels)
    assert labels["fabric.topograph.run/tier-0"] == "leaf-1"
    assert labels["topology.kubernetes.io/zone"] == "z"
    assert [(t.key, t.value, t.effect) for t in nodes[0].spec.taints] == [("a", "b", "NoSchedule")]
    assert nodes[0].status.allocatable["cpu"] == "8"
    slices = [each for each in objects if isinstance(each, ResourceSlice)]
    assert {each.spec.node_name for each in slices} == {"n-0", "n-1"}
    assert {each.spec.pool.resource_slice_count for each in slices if each.spec.pool} == {2}


def test_what_a_file_says_stands_in_place_of_what_a_fleet_brings(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nodes: [{name: n, devices: [{model: rngd, count: 1}]}]")
    (tmp_path / "b.yaml").write_text(
        "apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: npu.furiosa.ai, labels: {mine: 'yes'}}\n"
        "spec: {selectors: [{cel: {expression: 'true'}}]}"
    )
    objects = InputReader(NOW_S).read([tmp_path]).objects
    (own,) = [each for each in objects if kind_of(each) == "DeviceClass" and each.metadata.name == "npu.furiosa.ai"]
    assert own.metadata.labels == {"mine": "yes"}
