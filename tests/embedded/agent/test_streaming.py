"""Logs, exec, attach, cp and port-forward with the real kubectl, over WebSocket and over SPDY."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from agent_platform import Cluster, container_status, is_ready, phase, shell

from fairlead.kube.errors import BadRequest
from patience import PATIENCE_S

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
TRANSPORTS = pytest.mark.parametrize("env", [{}, SPDY], ids=["websocket", "spdy"])


def environment(cluster: Cluster, extra: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(cluster.platform.kubeconfig), **extra}


async def kubectl(
    cluster: Cluster, *arguments: str, stdin: bytes | None = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(
        subprocess.run,
        ["kubectl", *arguments],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(cluster, env or {}),
    )


async def ready_pod(cluster: Cluster, name: str, script: str = "echo started; sleep 600", **fields: object) -> None:
    await cluster.run(name, shell(script, **fields))
    await cluster.until(name, is_ready)


@TRANSPORTS
async def test_exec_carries_streams_and_the_exit_code(cluster: Cluster, env: dict[str, str]):
    await ready_pod(cluster, "exec")
    done = await kubectl(cluster, "exec", "exec", "--", "sh", "-c", "echo out; echo err >&2; exit 3", env=env)
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert done.stderr == b"err\ncommand terminated with exit code 3\n"
    data = os.urandom(3_000_000)
    done = await kubectl(cluster, "exec", "-i", "exec", "--", "cat", stdin=data, env=env)
    assert done.stdout == data
    done = await kubectl(cluster, "exec", "exec", "--", "no-such-program", env=env)
    assert done.returncode == 127 and b"executable file not found in $PATH" in done.stderr


@TRANSPORTS
async def test_a_terminal(cluster: Cluster, env: dict[str, str]):
    await ready_pod(cluster, "tty")
    command = ["script", "-qec", "kubectl exec -it tty -- sh -c 'test -t 0 && stty size && echo terminal'", "/dev/null"]
    if shutil.which("script") is None:
        pytest.skip("needs script(1)")
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(cluster, env),
    )
    assert b"terminal" in done.stdout


@TRANSPORTS
async def test_attach_reaches_the_containers_own_streams(cluster: Cluster, env: dict[str, str]):
    await ready_pod(
        cluster, "attach", "while read line; do echo got $line; [ $line = end ] && exit 0; done", stdin=True
    )
    done = await kubectl(cluster, "attach", "-i", "attach", stdin=b"one\nend\n", env=env)
    assert b"got one\ngot end\n" in done.stdout
    await cluster.until("attach", lambda p: container_status(p)["restartCount"] == 1)
    assert "got one" in await cluster.logs("attach", previous="true")


@TRANSPORTS
async def test_copying_files(cluster: Cluster, env: dict[str, str], tmp_path: Path):
    await ready_pod(cluster, "cp")
    (tmp_path / "in").write_bytes(os.urandom(2_000_000))
    there = tmp_path / "there"
    done = await kubectl(cluster, "cp", str(tmp_path / "in"), f"cp:{there}", env=env)
    assert done.returncode == 0, done.stderr
    done = await kubectl(cluster, "cp", f"cp:{there}", str(tmp_path / "back"), env=env)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "in").read_bytes()


@TRANSPORTS
async def test_port_forward(cluster: Cluster, env: dict[str, str], tmp_path: Path):
    server = {
        "name": "app",
        "image": "python",
        "command": [sys.executable, "-m", "http.server", "8000", "--bind", "$(IP)"],
        "workingDir": str(tmp_path),
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    (tmp_path / "file").write_bytes(os.urandom(1_000_000))
    await cluster.run("forward", server)
    await cluster.until("forward", is_ready)
    forwarding = await asyncio.create_subprocess_exec(
        "kubectl", "port-forward", "pod/forward", ":8000", ":9", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(cluster, env),
    )  # fmt: skip
    try:
        assert forwarding.stdout is not None and forwarding.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            first = (await forwarding.stdout.readline()).decode()
        port = int(first.split("->")[0].rpartition(":")[2])

        def fetch() -> bytes:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/file", timeout=PATIENCE_S).read()

        fetched = await asyncio.gather(*(asyncio.to_thread(fetch) for _ in range(4)))
        assert set(fetched) == {(tmp_path / "file").read_bytes()}
    finally:
        forwarding.kill()
        await forwarding.wait()


async def test_logs_with_every_option(cluster: Cluster):
    await ready_pod(cluster, "logs", "for i in 1 2 3; do echo line $i; done; sleep 600")
    await cluster.said("logs", 3)
    assert (await kubectl(cluster, "logs", "logs", "--tail", "2")).stdout == b"line 2\nline 3\n"
    assert (await kubectl(cluster, "logs", "logs", "--limit-bytes", "6")).stdout == b"line 1"
    assert (await kubectl(cluster, "logs", "logs", "--since-time", "2999-01-01T00:00:00Z")).stdout == b""
    stamped = (await kubectl(cluster, "logs", "logs", "--timestamps", "--tail", "1")).stdout.split()
    assert len(stamped[0]) == len(b"2006-01-02T15:04:05.000000000Z") and stamped[1:] == [b"line", b"3"]
    missing = await kubectl(cluster, "logs", "logs", "--previous")
    assert b'previous terminated container "app" in pod "logs" not found' in missing.stderr


async def test_following_a_log_ends_with_the_container(cluster: Cluster):
    await cluster.run("follow", shell("for i in 1 2 3; do echo $i; sleep 0.2; done"), restartPolicy="Never")
    await cluster.until("follow", lambda p: phase(p) != "Pending")
    done = await kubectl(cluster, "logs", "-f", "follow")
    assert done.stdout == b"1\n2\n3\n"


async def test_errors_have_the_api_servers_words(cluster: Cluster):
    await cluster.run(
        "two",
        shell("sleep 600", "a"),
        {"name": "b", "image": "acme/none"},
        initContainers=[shell("true", "i")],
    )
    await cluster.until("two", lambda p: len(p["status"].get("containerStatuses", ())) == 2 and phase(p) == "Pending")
    await cluster.until("two", lambda p: "running" in p["status"]["containerStatuses"][0]["state"])
    expected = {
        (): "a container name must be specified for pod two, choose one of: [a b] or one of the init containers: [i]",
        (("container", "x"),): "container x is not valid for pod two",
        (("container", "b"),): 'container "b" in pod "two" is waiting to start: ErrImageNeverPull',
    }
    for params, message in expected.items():
        with pytest.raises(BadRequest) as error:
            await cluster.logs("two", **dict(params))
        assert error.value.message == message
    with pytest.raises(BadRequest, match="Upgrade request required"):
        await cluster.client.request("POST", "/api/v1/namespaces/default/pods/two/exec", params={"command": "ls"})


async def test_the_older_channel_protocols(cluster: Cluster):
    """What the official Python client speaks."""
    await ready_pod(cluster, "channels")
    path = "/api/v1/namespaces/default/pods/channels/exec"
    params = [
        ("command", "sh"),
        ("command", "-c"),
        ("command", "echo hi; exit 2"),
        ("stdout", "true"),
        ("stderr", "true"),
    ]
    for protocol in ("v4.channel.k8s.io", "v5.channel.k8s.io"):
        socket = await cluster.client.transport.websocket(path, params, [protocol])
        messages = [m.data async for m in socket]
        assert b"\x01hi\n" in messages
        assert messages[-1][:1] == b"\x03" and b'"reason":"ExitCode","message":"2"' in messages[-1]
