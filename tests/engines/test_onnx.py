"""The adapter of the ONNX runtime: its command line is one the server takes, its signals are what the server says."""

from __future__ import annotations

import pytest

from fairlead.engines import UNKNOWN, EngineSourceError, EngineSpec, engine_for
from fairlead.runtimes.onnx.metrics import RuntimeMetrics


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
