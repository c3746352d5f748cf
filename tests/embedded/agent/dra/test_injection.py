"""CDI edits of a container that is a process: paths, device nodes, groups, networks, hooks; and what cannot be had."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_platform import NODE, PODS, Cluster, container_status, is_ready, shell
from dra_bench import USES, Driver, allocate, reserve, run_with_claim

from patience import PATIENCE_S

Drivers = Callable[..., Driver]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and device nodes of one's own take root")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where every user may write."""
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="hooks-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


async def start(cluster: Cluster, driver: Drivers, edits: dict[str, Any], script: str, **spec: Any) -> Driver:
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": edits})
    gpu.give("one")
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "takes", "one", shell(script, **USES), **spec)
    return gpu


def on_machine(path: str) -> bool:
    return os.path.lexists(path)


async def trouble(cluster: Cluster) -> str:
    pod = await cluster.until("takes", lambda p: container_status(p)["state"].get("waiting", {}).get("message"))
    waiting = container_status(pod)["state"]["waiting"]
    assert waiting["reason"] in ("CreateContainerError", "RunContainerError")
    return str(waiting["message"])


@needs_root
async def test_mounts_and_device_nodes_appear_where_the_spec_says(cluster: Cluster, driver: Drivers, tmp_path: Path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "driver.so").write_text("library")
    edits = {
        "mounts": [
            {
                "hostPath": str(tmp_path / "lib"),
                "containerPath": "/opt/vendor/lib",
                "options": ["ro", "nosuid", "nodev", "noexec", "rbind"],
            }
        ],
        "deviceNodes": [{"path": "/dev/vendor/gpu0", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3}],
        "netDevices": [{"hostInterfaceName": "lo", "name": "net0"}],
        "additionalGids": [4242],
    }
    script = (
        "cat /opt/vendor/lib/driver.so; touch /opt/vendor/lib/x 2>/dev/null || echo; echo readonly; "
        "stat -c '%F %t:%T' /dev/vendor/gpu0; echo ok >/dev/vendor/gpu0 && id -G; echo $FAIRLEAD_NET_NET0; "
        "grep ' /opt/vendor/lib ' /proc/self/mounts | cut -d' ' -f4; sleep 600"
    )
    await start(cluster, driver, edits, script)
    await cluster.until("takes", is_ready)
    lines = (await cluster.said("takes", 6)).splitlines()
    assert lines[:3] == ["library", "readonly", "character special file 1:3"]
    assert "4242" in lines[3].split()
    assert lines[4] == "lo"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines[5].split(","))
    assert not on_machine("/opt/vendor")
    assert not on_machine("/dev/vendor")


@needs_root
async def test_a_device_node_of_its_own_for_a_user_who_may_not_open_the_machines(
    cluster: Cluster, driver: Drivers, tmp_path: Path
):
    node = tmp_path / "secret"
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    edits = {"deviceNodes": [{"path": "/dev/secret0", "hostPath": str(node)}]}
    script = "stat -c '%u %a' /dev/secret0; echo in >/dev/secret0 && echo written; sleep 600"
    await start(cluster, driver, edits, script, securityContext={"runAsUser": 65534})
    await cluster.until("takes", is_ready)
    assert await cluster.said("takes", 2) == "65534 600\nwritten\n"
    assert node.stat().st_uid == 0


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({"deviceNodes": [{"path": "/dev/no-such-gpu"}]}, "device node /dev/no-such-gpu is not on this machine"),
        (
            {"deviceNodes": [{"path": "/dev/null", "type": "c", "major": 195, "minor": 0}]},
            "device node /dev/null has the numbers 1:3, expected 195:0",
        ),
        ({"deviceNodes": [{"path": "/dev/null", "type": "b"}]}, '/dev/null is not of type "b"'),
        ({"deviceNodes": [{"path": "/etc/passwd"}]}, "/etc/passwd is not a device node"),
        (
            {"mounts": [{"hostPath": "/no/such/lib", "containerPath": "/lib/x"}]},
            "CDI mount of /no/such/lib at /lib/x: /no/such/lib is not on this machine",
        ),
        ({"netDevices": [{"hostInterfaceName": "nosuch0", "name": "n"}]}, "network interface nosuch0"),
        ({"intelRdt": {"closID": "gold"}}, "asks for an Intel RDT class"),
        (
            {"hooks": [{"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "echo no room; exit 3"]}]},
            "createRuntime hook /bin/sh failed: exit status 3: no room",
        ),
        (
            {"hooks": [{"hookName": "startContainer", "path": "/bin/sleep", "args": ["sleep", "30"], "timeout": 1}]},
            "startContainer hook /bin/sleep failed: it did not end within 1 s",
        ),
        (
            {"hooks": [{"hookName": "createContainer", "path": "/no/such/hook"}]},
            "createContainer hook /no/such/hook failed: No such file or directory",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_had_is_said(cluster: Cluster, driver: Drivers, edits: dict[str, Any], expected: str):
    await start(cluster, driver, edits, "sleep 600")
    assert expected in await trouble(cluster)


async def test_an_unknown_cdi_device_is_named_until_it_is_there(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.give("one")
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "takes", "one", shell("echo $GPU; sleep 600", **USES))
    message = await trouble(cluster)
    assert f'device "{gpu.kind}=gpu-0"' in message
    assert str(gpu.root / "cdi") in message
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    await cluster.until("takes", is_ready)
    assert await cluster.said("takes") == "zero\n"


async def test_hooks_run_in_order_with_the_containers_state(cluster: Cluster, driver: Drivers, tmp_path: Path):
    record = tmp_path / "hooks"
    stages = ("poststop", "startContainer", "createContainer", "createRuntime", "prestart", "poststart")
    script = 'echo "$0 $MORE $(cat)" >> "$RECORD"'
    hooks = [
        {
            "hookName": stage,
            "path": "/bin/sh",
            "args": ["sh", "-c", script, stage],
            "env": [f"RECORD={record}", "MORE=x"],
        }
        for stage in stages
    ]
    await start(cluster, driver, {"hooks": hooks, "env": ["GPU=zero"]}, f"echo program >> {record}; sleep 600")
    pod = await cluster.until("takes", is_ready)
    async with asyncio.timeout(PATIENCE_S):
        while "program" not in record.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await cluster.delete("takes")
    lines = [line.split(" ", 2) for line in record.read_text().splitlines()]
    names = [line[0] for line in lines]
    assert sorted(names[:4], key=names.index) == ["prestart", "createRuntime", "createContainer", "startContainer"]
    assert set(names[4:6]) == {"program", "poststart"}
    assert names[6:] == ["poststop"]
    states = {line[0]: json.loads(line[2]) for line in lines if line[0] != "program"}
    assert {line[1] for line in lines if line[0] != "program"} == {"x"}
    assert states["createRuntime"]["status"] == "creating"
    assert states["poststart"]["status"] == "running"
    assert states["poststop"]["status"] == "stopped"
    assert len({states[stage]["pid"] for stage in stages if stage != "poststop"}) == 1
    id = container_status(pod)["containerID"].removeprefix("process://")
    assert {told["id"] for told in states.values()} == {id}


async def test_a_killed_shim_leaves_the_last_hooks_to_the_agent(cluster: Cluster, driver: Drivers, tmp_path: Path):
    record = tmp_path / "stopped"
    hook = {
        "hookName": "poststop",
        "path": "/bin/sh",
        "args": ["sh", "-c", f"cat > {record}.new && mv {record}.new {record}"],
    }
    await start(cluster, driver, {"hooks": [hook]}, "sleep 600", restartPolicy="Never")
    pod = await cluster.until("takes", is_ready)
    folder = cluster.platform.data / "node" / NODE / "pods" / pod["metadata"]["uid"] / "containers" / "app" / "0"
    os.kill(json.loads((folder / "state.json").read_text())["shim_pid"], 9)
    await cluster.until("takes", lambda p: "terminated" in container_status(p)["state"])
    assert json.loads(record.read_text())["status"] == "stopped"


async def test_a_shim_killed_before_its_program_leaves_the_last_hooks_too(
    cluster: Cluster, driver: Drivers, tmp_path: Path
):
    record = tmp_path / "stopped"
    hooks = [
        # The hooks of this stage are the shim's own children.
        {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]},
        {
            "hookName": "poststop",
            "path": "/bin/sh",
            "args": ["sh", "-c", f"cat > {record}.new && mv {record}.new {record}"],
        },
    ]
    await start(cluster, driver, {"hooks": hooks}, "sleep 600", restartPolicy="Never")
    await cluster.until("takes", lambda p: "terminated" in container_status(p)["state"])
    assert json.loads(record.read_text())["status"] == "stopped"


@needs_root
async def test_only_the_last_hook_before_the_program_runs_as_the_containers_user(
    cluster: Cluster, driver: Drivers, open_folder: Path
):
    stages = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
    hooks = [
        {"hookName": stage, "path": "/bin/sh", "args": ["sh", "-c", f"/usr/bin/id -u > {open_folder}/{stage}"]}
        for stage in stages
    ]
    await start(cluster, driver, {"hooks": hooks}, "sleep 600", securityContext={"runAsUser": 65534})
    await cluster.until("takes", is_ready)
    users = {stage: int((open_folder / stage).read_text()) for stage in stages}
    assert users == dict.fromkeys(stages, 0) | {"startContainer": 65534}


async def test_extended_resources_get_the_claim_that_the_scheduler_made(cluster: Cluster, driver: Drivers):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("extended", request="container-0-request-0")
    gpu.start()
    await allocate(cluster, "extended", (gpu.name, NODE, "gpu-0"), request="container-0-request-0")
    amounts = {"example.com/gpu": "1"}
    pod = await cluster.client.create(
        PODS,
        {
            "metadata": {"name": "takes"},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    shell("echo [$GPU]; sleep 600", resources={"limits": amounts, "requests": amounts}),
                    shell("echo [$GPU]; sleep 600", "other"),
                ],
            },
        },
        "default",
    )
    mapping = {"containerName": "app", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}
    status = {"extendedResourceClaimStatus": {"resourceClaimName": "extended", "requestMappings": [mapping]}}
    await cluster.client.patch(PODS, "takes", {"status": status}, "default", subresource="status")
    await reserve(cluster, "extended", pod)
    binding = {"metadata": {"name": "takes"}, "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}
    await cluster.client.request("POST", "/api/v1/namespaces/default/pods/takes/binding", body=binding)
    await cluster.until("takes", is_ready)
    assert await cluster.said("takes", container="app") == "[zero]\n"
    assert await cluster.said("takes", container="other") == "[]\n"
    await cluster.delete("takes")
    assert len(gpu.calls("unprepare")) == 1
