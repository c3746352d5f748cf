"""Containers on machines that grant less: volumes without namespaces, limits without cgroups, users without root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agent_builders import container, pod

from fairlead.embedded.agent.cgroups import Hierarchy
from fairlead.embedded.agent.environment import ConfigError, NodeView, PodView
from fairlead.embedded.agent.pod import Pod
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.embedded.agent.starter import Blueprint, HostLimits, container_config

POOR = HostLimits(mounts=False, hierarchy=Hierarchy(None, frozenset(), "none here"))


async def nothing(resource: str, name: str) -> None:
    return None


def blueprint(a_pod: Pod, folder: Path, **volumes: Path) -> Blueprint:
    view = PodView(a_pod, "127.0.0.2", NodeView("node-0", "127.0.0.1"))
    return Blueprint(view, a_pod.spec.containers[0], 0, folder, volumes)


async def test_volumes_without_namespaces_are_linked_and_announced(tmp_path: Path):
    volume, target, taken = tmp_path / "volume", tmp_path / "target", tmp_path / "taken"
    volume.mkdir()
    taken.mkdir()
    (volume / "file").write_text("content")
    mounts = [{"name": "my-data", "mountPath": str(target)}, {"name": "my-data", "mountPath": str(taken)}]
    script = f'cat {target}/file "$FAIRLEAD_MOUNT_MY_DATA/file"; echo why > "$FAIRLEAD_TERMINATION_LOG"'
    a_pod = pod(container(command=["sh", "-c", script], volumeMounts=mounts))
    folder = tmp_path / "container"
    config = await container_config(blueprint(a_pod, folder, **{"my-data": volume}), POOR, nothing)
    runtime = ProcessRuntime()
    started = await runtime.start(folder, config)
    await runtime.wait(started)
    # What comes in two pieces may be two records.
    said = [line.split(" ", 3) for line in started.log_path.read_text().splitlines()]
    assert "".join(record[3] for record in said if record[1] == "stdout") == "contentcontent"
    assert started.termination_message() == "why\n"
    assert not target.is_symlink() and taken.is_dir()


async def test_memory_limits_fall_back_to_the_watch(tmp_path: Path):
    a_pod = pod(container(resources={"limits": {"memory": "64Mi"}}))
    config = await container_config(blueprint(a_pod, tmp_path), POOR, nothing)
    assert config["memory_limit_bytes"] == 64 << 20
    assert config["rlimits"]["RLIMIT_DATA"] > 64 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_running_as_root_can_be_forbidden(tmp_path: Path):
    refused = pod(container(securityContext={"runAsNonRoot": True}))
    with pytest.raises(ConfigError, match="container has runAsNonRoot and image will run as root"):
        await container_config(blueprint(refused, tmp_path), POOR, nothing)
    allowed = pod(container(securityContext={"runAsNonRoot": True, "runAsUser": 65534}))
    config = await container_config(blueprint(allowed, tmp_path), POOR, nothing)
    assert (config["uid"], config["env"]["HOME"]) == (65534, "/nonexistent")


async def test_a_sub_path_stays_in_its_volume(tmp_path: Path):
    mounts = [{"name": "v", "mountPath": "/x", "subPathExpr": "$(OUT)"}]
    a_pod = pod(container(volumeMounts=mounts, env=[{"name": "OUT", "value": "../out"}]))
    with pytest.raises(ConfigError, match="leaves the volume"):
        await container_config(blueprint(a_pod, tmp_path, v=tmp_path), POOR, nothing)
