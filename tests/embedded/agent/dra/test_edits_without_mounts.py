"""CDI edits on machines that grant no mount namespaces: links where nothing is in the way, and variables."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from agent_builders import container, pod

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode, Mount
from fairlead.embedded.agent.cgroups import Hierarchy
from fairlead.embedded.agent.dra.node_devices import EditsError
from fairlead.embedded.agent.environment import NodeView, PodView
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.embedded.agent.starter import Blueprint, HostLimits, container_config

POOR = HostLimits(mounts=False, hierarchy=Hierarchy(None, frozenset(), "none here"))


async def nothing(resource: str, name: str) -> None:
    return None


def blueprint(folder: Path, script: str, edits: ContainerEdits) -> Blueprint:
    a_pod = pod(container(command=["sh", "-c", script], env=[{"name": "GPU", "value": "none"}]))
    view = PodView(a_pod, "127.0.0.2", NodeView("node-0", "127.0.0.1"))
    return Blueprint(view, a_pod.spec.containers[0], 0, folder, {}, edits=edits)


async def test_paths_are_linked_and_announced(tmp_path: Path):
    library, target, taken = tmp_path / "library", tmp_path / "gpu.so", tmp_path / "taken"
    library.write_text("library")
    taken.mkdir()
    edits = ContainerEdits(
        env=["GPU=zero", "FAIRLEAD_CONTAINER_ID=stolen"],
        mounts=[Mount(str(library), str(target)), Mount(str(library), str(taken))],
        device_nodes=[DeviceNode(str(tmp_path / "gpu0"), host_path="/dev/null"), DeviceNode("/dev/zero")],
    )
    variable = "FAIRLEAD_PATH_" + str(taken).strip("/").upper().replace("/", "_").replace("-", "_")
    script = f'echo $GPU $(cat {target}) $(cat "${variable}"); echo x > {tmp_path}/gpu0; echo $FAIRLEAD_CONTAINER_ID'
    folder = tmp_path / "container"
    config = await container_config(blueprint(folder, script, edits), POOR, nothing)
    runtime = ProcessRuntime()
    started = await runtime.start(folder, config)
    await runtime.wait(started)
    said = [line.split(" ", 3)[3] for line in started.log_path.read_text().splitlines()]
    assert said == ["zero library library", started.id]
    assert not target.is_symlink()
    assert not (tmp_path / "gpu0").is_symlink()
    assert taken.is_dir()


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (Mount("tmpfs", "/scratch", type="tmpfs"), 'type "tmpfs" is not offered'),
        (Mount("/tmp", "/scratch", options=["rw", "uid=5"]), "options uid=5 are not offered"),
    ],
)
async def test_mounts_that_a_process_cannot_have_are_refused(tmp_path: Path, mount: Mount, expected: str):
    with pytest.raises(EditsError, match=expected):
        await container_config(blueprint(tmp_path, "true", ContainerEdits(mounts=[mount])), POOR, nothing)


async def test_links_go_though_the_program_ended_before_it_was_seen(tmp_path: Path):
    library, target = tmp_path / "library", tmp_path / "gpu.so"
    library.write_text("library")
    folder = tmp_path / "container"
    edits = ContainerEdits(mounts=[Mount(str(library), str(target))])
    runtime = ProcessRuntime()
    started = await runtime.start(folder, await container_config(blueprint(folder, "true", edits), POOR, nothing))
    while started.exit is None:
        await asyncio.sleep(0.01)
        started.refresh()
    await runtime.wait(started)
    assert not target.is_symlink()
