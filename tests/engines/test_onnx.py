"""The adapter of the ONNX runtime: its command line is one the server takes, its signals are what the server says."""

from __future__ import annotations

import asyncio
import sys

import pytest

from fairlead.embedded.supervisor.launch import free_port
from fairlead.engines import UNKNOWN, EngineSourceError, EngineSpec, engine_for
from fairlead.engines.conformance import CHECKS, Target, examine
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from patience import PATIENCE_S
from runtimes.onnx import graphs


def test_every_name_is_served_from_the_path_on_two_ports():
    spec = EngineSpec("iris", aliases=("digits", "iris"), source="file:///models", args=("--lazy",), drain_s=30)
    assert engine_for("onnx").command(spec).argv == (
        "fairlead", "engine", "onnx", "/models", "--served-model-name", "iris", "digits", "--host", "$(POD_IP)",
        "--port", "8000", "--grpc-port", "8001", "--drain-timeout-s", "25", "--lazy",
    )  # fmt: skip


@pytest.mark.parametrize("source", ["", "hf://org/name", "s3://bucket/x", "file://relative"])
def test_sources_that_are_no_paths_are_refused(source):
    with pytest.raises(EngineSourceError, match="absolute path or file:///path"):
        engine_for("onnx").command(EngineSpec("m", source=source))


def test_signals_are_sums_over_models():
    metrics = RuntimeMetrics()
    for model, code in (("a", 200), ("b", 200), ("b", 500)):
        metrics.loaded(model, "1", 0.1)
        metrics.answered(model, "1", "rest", code, 0.02)
        observer = metrics.model(model, "1")
        observer.waiting(2)
        observer.running(1)
        observer.queued(0.003)
    signals = engine_for("onnx").signals(metrics.page())
    assert (signals.running_requests, signals.waiting_requests, signals.succeeded_requests_total) == (3, 6, 2)
    assert signals.e2e is not None
    assert (signals.e2e.count, signals.e2e.bounds_s[-1]) == (2, float("inf"))
    assert signals.e2e.sum_s == pytest.approx(0.04)
    assert signals.queue is not None
    assert signals.queue.count == 3
    assert signals.kv_cache_usage_ratio is None


def test_a_server_without_models_says_nothing_of_them():
    assert engine_for("onnx").signals(RuntimeMetrics().page()) == UNKNOWN


async def test_the_server_that_the_command_starts_conforms(tmp_path):
    engine, port = engine_for("onnx"), free_port()
    program = (sys.executable, "-m", "fairlead.cli.main", "engine", "onnx")
    file = graphs.scaled(tmp_path / "file.onnx")
    spec = EngineSpec("m", aliases=("n",), source=file.as_uri(), command=program, host="127.0.0.1", port=port)
    argv = (*engine.command(spec).argv, "--grpc-port", "0")
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        for name in spec.names:
            results = [r async for r in examine(Target(engine, f"http://127.0.0.1:{port}", name, nonce="test"))]
            assert [r for r in results if r.outcome != "pass"] == []
            assert len(results) == len([c for c in CHECKS if c.api in ("any", "open-inference")])
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
