"""`fairlead schedule simulate`, `explain` and `capacity` on files: golden pages, JSON, what comes later, bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.cli.app import run

EXAMPLES = Path(__file__).parents[2] / "examples" / "scheduling"
CLUSTER = EXAMPLES / "cluster.yaml"

SMALL = """
network: [{name: leaf, nodes: 2}]
nodes:
  - {name: n, count: 2, cpu: 8, memory: 32Gi, pcieSwitches: 2, devices: [{model: l4, count: 4}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: two}
spec: {spec: {devices: {requests: [{name: gpus, exactly: {deviceClassName: gpu.nvidia.com, count: 2}}]}}}
"""


def service(name: str, replicas: int, *, cpu: int = 1, annotations: str = "{}", priority: str = "") -> str:
    return f"""
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {annotations}}}
    spec:
      schedulerName: fairlead
      {priority}
      resourceClaims: [{{name: gpus, resourceClaimTemplateName: two}}]
      containers: [{{name: c, image: i, resources: {{requests: {{cpu: {cpu}}}, claims: [{{name: gpus}}]}}}}]
"""


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def told(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    """What a command prints."""
    assert run(list(argv)) == status
    captured = capsys.readouterr()
    return captured.err if status == 1 else captured.out


def document(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(told(capsys, *argv, "-o", "json"))


def simulated(capsys: pytest.CaptureFixture[str], name: str, *more: str) -> Any:
    return document(capsys, "schedule", "simulate", "-f", str(CLUSTER), "-f", str(EXAMPLES / name), *more)


def test_golden_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "a.yaml", SMALL + "---" + service("web", 5))
    assert told(capsys, "schedule", "simulate", "-f", file) == GOLDEN


HELD = ", ".join(f"2 gpu.nvidia.com by default/web-{number}" for number in range(4))
GOLDEN = f"""\
GANG            QUEUE   PODS   NODES   DEVICES            WHERE
default/web-0   -       1/1    n-0     2 gpu.nvidia.com   -
default/web-1   -       1/1    n-0     2 gpu.nvidia.com   -
default/web-2   -       1/1    n-1     2 gpu.nvidia.com   -
default/web-3   -       1/1    n-1     2 gpu.nvidia.com   -
default/web-4   -       0/1    -       -                  no place: devices

pod default/web-4: has no place
  1 pod without a node, priority 0
  asks for 1 cpu, 2 gpu.nvidia.com in all
  because: nodes pass the filters, but too few devices satisfy the claims
  0/2 nodes are available: 2 cannot allocate all claims: claim gpus, request gpus: found 0 of 2 devices; 4 in use.

  held: {HELD}

  nobody makes room:
    4 held by default, not preemptible: its priority 0 is not lower

  what would make it fit:
    - end default/web-0 (then on n-0)
    - end default/web-1 (then on n-0)
    - free or add 2 gpu.nvidia.com on one node (reckoned, not tried)

4 of 5 gangs placed, 4 pods on 2 nodes, 1 without a place
"""


def test_simulations_repeat_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(capsys, "gang.yaml") == simulated(capsys, "gang.yaml")


def test_gang_example_shares_rack_and_nvlink_domain(capsys: pytest.CaptureFixture[str]) -> None:
    (gang,) = simulated(capsys, "gang.yaml")["gangs"]
    assert gang["outcome"] == "placed" and len(gang["pods"]) == 4
    assert set(gang["domains"]) == {"fabric.topograph.run/tier-0", "accelerator.topograph.run/domain"}
    assert all(len(claim["devices"]) == 4 for pod in gang["pods"] for claim in pod["claims"])


def test_too_large_example_is_told_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    found = simulated(capsys, "too-large.yaml")
    (gang,) = found["gangs"]
    assert gang["refusal"]["because"] == "topology"
    assert gang["refusal"]["nearest"]["sentence"].startswith("rack rack-0 has 32 free gb200 of the 36 wanted")
    kinds = [each["kind"] for each in gang["refusal"]["remedies"]]
    assert kinds[0] == "topology" and kinds[-2:] == ["size", "more"]
    assert found["summary"] == {"gangs": 1, "placed": 0, "refused": 1, "pods": 0, "evicted": 0}


def test_prefill_and_decode_have_nvlink_domains_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    (gang,) = simulated(capsys, "prefill-decode.yaml")["gangs"]
    nodes = {role: {int(pod["node"].removeprefix("tray-")) // 4 for pod in gang["pods"] if f"-{role}-" in pod["pod"]}
             for role in ("prefill", "decode")}  # fmt: skip
    assert len(nodes["prefill"]) == len(nodes["decode"]) == 1
    assert nodes["prefill"] != nodes["decode"]
    assert {domain // 2 for each in nodes.values() for domain in each} in ({0}, {1})


def test_queues_take_back_what_is_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    found = simulated(capsys, "queues.yaml", "--then", str(EXAMPLES / "queues-later.yaml"))
    placed = [gang["gang"]["name"] for gang in found["gangs"] if gang["outcome"] == "placed"]
    assert sum(name.startswith("chat-") for name in placed) == 4
    assert sum(name.startswith("sweep-") for name in placed) == 4
    assert [each["kind"] for each in found["evictions"]] == ["reclaim", "reclaim"]


def test_batch_work_yields_to_serving(capsys: pytest.CaptureFixture[str]) -> None:
    found = simulated(capsys, "backfill.yaml", "--then", str(EXAMPLES / "backfill-later.yaml"))
    outcomes = {gang["gang"]["name"]: gang["outcome"] for gang in found["gangs"]}
    assert [outcomes[name] for name in outcomes if name.startswith("chat-more-")] == ["placed"]
    assert {outcomes[f"embed-{number}"] for number in range(8)} == {"refused"}
    assert sum(len(each["pods"]) for each in found["evictions"]) == 8


def test_nobody_is_evicted_where_nobody_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    later = str(EXAMPLES / "queues-later.yaml")
    found = simulated(capsys, "queues.yaml", "--then", later, "--no-evict")
    assert found["evictions"] == [] and found["summary"]["refused"] == 2


def test_yaml_is_json_in_another_form(capsys: pytest.CaptureFixture[str]) -> None:
    as_json = simulated(capsys, "gang.yaml")
    argv = ("schedule", "simulate", "-f", str(CLUSTER), "-f", str(EXAMPLES / "gang.yaml"), "-o", "yaml")
    assert yaml.safe_load(told(capsys, *argv)) == as_json


def test_wide_names_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "a.yaml", SMALL + "---" + service("web", 1))
    lines = told(capsys, "schedule", "simulate", "-f", file, "-o", "wide").splitlines()
    assert lines[3].split() == ["POD", "NODE", "CLAIM", "DEVICES"]
    assert lines[4].split() == ["default/web-0", "n-0", "web-0-gpus", "gpu-0,", "gpu-1"]


def test_upstream_mode_takes_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "a.yaml", SMALL + "---" + service("web", 1))
    found = document(capsys, "schedule", "simulate", "-f", file, "--mode", "upstream")
    (claim,) = found["gangs"][0]["pods"][0]["claims"]
    assert [each["device"] for each in claim["devices"]] == ["gpu-0", "gpu-1"]


def test_strict_fails_where_something_has_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "a.yaml", SMALL + "---" + service("web", 5))
    told(capsys, "schedule", "simulate", "-f", file, "--strict", status=3)
    told(capsys, "schedule", "simulate", "-f", file, "--quiet")
    assert capsys.readouterr().out == ""


def test_many_pods_of_a_template_share_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "a.yaml", SMALL + "---" + service("web", 50))
    lines = told(capsys, "schedule", "simulate", "-f", file).splitlines()
    assert [line.split("  ")[0] for line in lines[1:3]] == ["default/web-0 and 3 alike", "default/web-12 and 45 alike"]
    assert "4/4" in lines[1] and "8 gpu.nvidia.com" in lines[1]
    assert lines[-3].startswith("for the same reason as default/web-12: default/web-13, ")
    assert lines[-3].endswith(" and 37 more")


PRIORITIES = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 100
"""


def test_evicted_pods_come_again_where_a_controller_owns_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path, "a.yaml", SMALL + "---" + service("low", 4))
    high = service("high", 1, priority="priorityClassName: high")
    later = write(tmp_path, "b.yaml", PRIORITIES + "---" + high)
    found = document(capsys, "schedule", "simulate", "-f", first, "--then", later)
    (eviction,) = found["evictions"]
    assert (eviction["for"], eviction["kind"], len(eviction["pods"])) == ("default/high-0", "preemption", 1)
    assert found["summary"] == {"gangs": 5, "placed": 4, "refused": 1, "pods": 4, "evicted": 1}
    text = told(capsys, "schedule", "simulate", "-f", first, "--then", later)
    assert f"evicted by preemption for default/high-0 on n-1: {eviction['pods'][0]} (1 pod)" in text or (
        f"evicted by preemption for default/high-0 on n-0: {eviction['pods'][0]} (1 pod)" in text
    )


def test_kinds_that_do_not_matter_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
    file = write(tmp_path, "a.yaml", SMALL + "---\n" + config)
    assert told(capsys, "schedule", "simulate", "-f", file) == (
        "no pods without a node in the files\nnot looked at: 1 ConfigMap\n"
    )


def test_a_builtin_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
                                     "spec: {containers: [{name: c, image: i}]}")  # fmt: skip
    found = document(capsys, "schedule", "simulate", "--fleet", "h100x8", "-f", file)
    assert found["summary"]["placed"] == 1
    assert "no fleet of that name" in told(capsys, "schedule", "simulate", "--fleet", "h100x9", status=1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("schedule", "simulate"), "give objects with --file FILE"),
        (("schedule", "simulate", "-f", "/nowhere.yaml"), "/nowhere.yaml: cannot be read: No such file or directory"),
        (("explain", "pod", "p", "-f", str(CLUSTER)), "there is no pod default/p that runs or waits; there are none"),
        (("explain", "gang", "trian", "-f", str(CLUSTER), "-f", str(EXAMPLES / "gang.yaml")), "did you mean train?"),
        (("explain", "claim", "c", "-f", str(CLUSTER), "--kubeconfig", "x"), "leave --kubeconfig out"),
        (("capacity", "svc", "--class", "h100", "--cluster", str(CLUSTER)), "give one of SERVICE, --file and --class"),
        (("capacity", "--class", "h10", "--cluster", str(CLUSTER)), "there is no DeviceClass h10; did you mean h100"),
        (("capacity", "--level", "rak", "--cluster", str(CLUSTER)), "did you mean 'rack'?"),
        (("capacity", "cronjob/x", "--cluster", str(CLUSTER)), "no workload of that kind; write one of deployment"),
        (("capacity", "x", "--cluster", str(CLUSTER)), "there is no ModelService default/x"),
        (("capacity", "-f", str(CLUSTER), "--cluster", str(CLUSTER)), "no pods without a node in there"),
    ],
)
def test_bad_input_is_one_line(argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in told(capsys, *argv, status=1)


def test_explain_pods_gangs_and_claims_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    files = ("-f", str(CLUSTER), "-f", str(EXAMPLES / "gang.yaml"))
    page = told(capsys, "explain", "gang", "train", *files)
    assert page.startswith("Job default/train of 4 pods: fits, would go to tray-0, tray-1, tray-2, tray-3\n")
    one = told(capsys, "explain", "pod", "default/train-1", *files)
    assert one.startswith("pod default/train-1 goes with Job default/train, all or nothing\n")
    assert "default/train-1 on tray-1" in one and "default/train-2" not in one
    claim = document(capsys, "explain", "claim", "train-1-gpus", *files)
    assert (claim["allocated"], claim["waiting"][0]["outcome"]) == (False, "fits")


def test_explain_a_bound_pod(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pod and a claim as an API server shows them."""
    stored = "uid: u, creationTimestamp: '2026-01-02T03:04:05Z'"
    results = ", ".join(
        f"{{request: gpus, driver: gpu.nvidia.com, pool: n-1, device: gpu-{number}}}" for number in (0, 3)
    )
    text = f"""
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {{name: c, {stored}}}
spec: {{devices: {{requests: [{{name: gpus, exactly: {{deviceClassName: gpu.nvidia.com, count: 2}}}}]}}}}
status:
  allocation: {{devices: {{results: [{results}]}}}}
  reservedFor: [{{resource: pods, name: p, uid: p-uid}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: p, {stored}}}
spec:
  nodeName: n-1
  resourceClaims: [{{name: gpus, resourceClaimName: c}}]
  containers: [{{name: m, image: i, resources: {{claims: [{{name: gpus}}]}}}}]
status: {{phase: Running}}
"""
    files = ("-f", write(tmp_path, "a.yaml", SMALL + "---" + text))
    page = told(capsys, "explain", "pod", "p", *files)
    assert page.startswith("pod default/p: on n-1\n")
    assert "claim c: gpu-0, gpu-3 of gpu.nvidia.com; one NUMA node, mean link score" in page
    assert "n-1 has 2 more gpu.nvidia.com to give" in page
    assert "used by pod default/p" in told(capsys, "explain", "claim", "c", *files)
    nodes = document(capsys, "capacity", "--nodes", "--cluster", files[1])["nodes"]
    assert {each["node"]: each["devices"]["gpu.nvidia.com"]["free"] for each in nodes} == {"n-0": 4, "n-1": 2}


def test_capacity_of_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = write(tmp_path, "a.yaml", SMALL)
    found = document(capsys, "capacity", "--class", "gpu.nvidia.com", "--count", "3", "--cluster", cluster)
    assert (found["fits"], found["isMost"]) == (2, True)
    assert found["byDomain"]["fabric.topograph.run/tier-0"] == {"leaf-0": 2}
    more = ("--cpu", "5", "--class", "gpu.nvidia.com", "--count", "1", "--cluster", cluster)
    assert document(capsys, "capacity", *more)["fits"] == 2


def test_capacity_of_a_workload_counts_single_replicas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = write(tmp_path, "a.yaml", SMALL + "---" + service("web", 0))
    file = write(tmp_path, "b.yaml", service("other", 7))
    assert document(capsys, "capacity", "replicaset/web", "--cluster", cluster)["fits"] == 4
    assert document(capsys, "capacity", "-f", file, "--cluster", cluster)["fits"] == 4
    text = told(capsys, "capacity", "replicaset/web", "--cluster", cluster)
    assert text.splitlines()[0] == "ReplicaSet default/web: 4 more fit"


def test_capacity_of_a_gang(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "capacity", "-f", str(EXAMPLES / "gang.yaml"), "--cluster", str(CLUSTER))
    assert (found["fits"], found["podsEach"]) == (4, 4)
    assert found["byDomain"]["fabric.topograph.run/tier-0"] == {"rack-0": 2, "rack-1": 2}


def test_free_and_fragmented(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "capacity", "--cluster", str(CLUSTER))
    classes = {each["class"]: each for each in found["classes"]}
    assert (classes["h100"]["total"], classes["gb200"]["total"], classes["gpu.nvidia.com"]["free"]) == (32, 64, 96)
    assert classes["h100"]["fragmentation"] == 0.0
    assert found["resources"]["cpu"] == {"total": "3072", "used": "0", "free": "3072"}
    lines = told(capsys, "capacity", "--cluster", str(CLUSTER)).splitlines()
    assert lines[0].startswith("CLASS            TOTAL   HELD   FREE   UNHEALTHY   BLOCKED   STRANDED 1/2/4/8")
