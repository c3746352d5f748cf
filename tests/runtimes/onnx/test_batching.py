"""Dynamic batching: the choice, and the queue around real models."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.runtimes.onnx.batching import Batcher, Take, Waiting, WaitUntil, choose
from fairlead.runtimes.onnx.errors import InferenceError
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from fairlead.runtimes.onnx.model import Model
from fairlead.runtimes.onnx.settings import ModelSettings
from runtimes.onnx import graphs


class Counted:
    """A model whose executions are counted, and can be held up."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.batchable = True
        self.rows: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, inputs, outputs):
        self.gate.wait(10)
        self.rows.append(max((a.shape[0] for a in inputs.values() if a.ndim), default=0))
        return self._model.run(inputs, outputs)


def _batcher(file: Path, clock=None, **options) -> tuple[Batcher, Counted, RuntimeMetrics]:
    model, metrics = Counted(Model(file, ModelSettings())), RuntimeMetrics()
    arguments = [clock] if clock else []
    return Batcher("m", model, ModelSettings(**options), metrics.model("m", "1"), *arguments), model, metrics


def _value(metrics: RuntimeMetrics, name: str) -> float:
    return sum(float(line.split()[-1]) for line in metrics.page().decode().splitlines() if line.startswith(name))


async def _one_runs(metrics: RuntimeMetrics) -> None:
    for _ in range(5000):
        if _value(metrics, "fairlead_onnx_running_requests{") == 1:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nothing runs")


_QUEUE = st.lists(
    st.builds(Waiting, st.sampled_from(["a", "b", None]), st.integers(1, 9), st.floats(0, 10)), min_size=1, max_size=12
)


@given(_QUEUE, st.floats(0, 20), st.integers(1, 12), st.floats(0, 5))
def test_a_choice_is_the_first_and_its_likes_within_the_limit(queue, now_s, max_rows, max_delay_s):
    decision = choose(queue, now_s, max_rows, max_delay_s)
    if isinstance(decision, WaitUntil):
        assert decision.time_s > now_s
        assert queue[0].key is not None
        return
    taken = [queue[position] for position in decision.positions]
    assert decision.positions[0] == 0
    assert list(decision.positions) == sorted(set(decision.positions))
    assert len(taken) == 1 or sum(w.rows for w in taken) <= max_rows
    assert len(taken) == 1 or {w.key for w in taken} == {queue[0].key} != {None}


@given(_QUEUE, st.floats(0, 20), st.integers(1, 12))
def test_without_delay_nothing_waits(queue, now_s, max_rows):
    queue = [Waiting(w.key, w.rows, min(w.since_s, now_s)) for w in queue]
    assert isinstance(choose(queue, now_s, max_rows, 0.0), Take)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), min_size=1, max_size=20),
    max_batch_size=st.integers(1, 10),
    instances=st.integers(1, 3),
    delay_ms=st.sampled_from([0.0, 1.0]),
)
def test_batched_answers_are_those_of_single_requests(tmp_path, requests, max_batch_size, instances, delay_ms):
    file = tmp_path / "scaled.onnx"
    if not file.exists():
        graphs.scaled(file, 3.0)
    alone = Model(file, ModelSettings())
    random = np.random.default_rng(len(requests))
    inputs = [{"x": random.random((rows, columns), np.float32)} for rows, columns in requests]
    expected = [alone.run(one, ["y"])[0].array for one in inputs]

    async def all_at_once():
        batcher, model, metrics = _batcher(
            file, max_batch_size=max_batch_size, instances=instances, max_delay_ms=delay_ms
        )
        answers = await asyncio.gather(*(batcher.submit(one, ("y",)) for one in inputs))
        await batcher.finish()
        return answers, model, metrics

    answers, model, metrics = asyncio.run(all_at_once())
    for answer, right in zip(answers, expected, strict=True):
        assert np.array_equal(answer[0].array, right)
    assert sum(model.rows) == sum(rows for rows, _ in requests)
    assert all(rows <= max(max_batch_size, 6) for rows in model.rows)
    assert _value(metrics, "nv_inference_exec_count{") == len(model.rows)
    assert _value(metrics, "nv_inference_pending_request_count{") == 0
    assert _value(metrics, "fairlead_onnx_running_requests{") == 0


async def test_what_waits_behind_a_busy_model_runs_together(tmp_path):
    batcher, model, metrics = _batcher(graphs.scaled(tmp_path / "m.onnx"), max_batch_size=8)
    model.gate.clear()
    first = asyncio.create_task(batcher.submit({"x": np.ones((1, 2), np.float32)}, ("y",)))
    await _one_runs(metrics)
    others = [asyncio.create_task(batcher.submit({"x": np.ones((1, 2), np.float32)}, ("y",))) for _ in range(10)]
    odd = asyncio.create_task(batcher.submit({"x": np.ones((1, 3), np.float32)}, ("y",)))
    await asyncio.sleep(0)
    assert _value(metrics, "nv_inference_pending_request_count{") == 11
    model.gate.set()
    await asyncio.gather(first, odd, *others)
    assert model.rows == [1, 8, 2, 1]
    await batcher.finish()


async def test_a_request_waits_for_company_until_the_delay_is_over_or_the_batch_is_full(tmp_path):
    clock = VirtualClock()
    batcher, model, _ = _batcher(graphs.scaled(tmp_path / "m.onnx"), clock, max_batch_size=4, max_delay_ms=1000)
    row = {"x": np.ones((1, 2), np.float32)}
    early = asyncio.create_task(batcher.submit(row, ("y",)))
    await clock.advance(0.9)
    late = asyncio.create_task(batcher.submit(row, ("y",)))
    await clock.advance(0.05)
    assert model.rows == []
    await clock.advance(0.06)
    await asyncio.gather(early, late)
    assert model.rows == [2]
    await asyncio.gather(*(batcher.submit(row, ("y",)) for _ in range(4)))
    assert model.rows == [2, 4], "a full batch does not wait"
    await batcher.finish()


async def test_only_the_request_to_blame_fails(tmp_path):
    batcher, model, _ = _batcher(graphs.looked_up(tmp_path / "m.onnx"), max_batch_size=8)
    model.gate.clear()
    values = [0, 3, 99, 2]
    tasks = [asyncio.create_task(batcher.submit({"x": np.array([v], np.int64)}, ("y",))) for v in (1, *values)]
    await asyncio.sleep(0.01)
    model.gate.set()
    _, *answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [a if isinstance(a, InferenceError) else a[0].array.tolist() for a in answers][:2] == [[10.0], [13.0]]
    assert isinstance(answers[2], InferenceError)
    assert answers[2].status == 400
    assert answers[3][0].array.tolist() == [12.0]
    await batcher.finish()


async def test_a_model_without_a_row_for_each_row_is_not_batched(tmp_path):
    batcher, model, _ = _batcher(graphs.non_zero(tmp_path / "m.onnx"), max_batch_size=8)
    model.gate.clear()
    rows = [[1, 0, 1], [0, 0], [2]]
    tasks = [asyncio.create_task(batcher.submit({"x": np.array(r, np.float32)}, ("y",))) for r in ([1], *rows)]
    await asyncio.sleep(0.01)
    model.gate.set()
    _, *answers = await asyncio.gather(*tasks)
    assert [answer[0].array.ravel().tolist() for answer in answers] == [[0, 2], [], [0]]
    await batcher.finish()


async def test_a_full_queue_refuses_and_a_cancelled_request_gives_its_place_back(tmp_path):
    batcher, model, metrics = _batcher(graphs.scaled(tmp_path / "m.onnx"), max_queue=2, max_batch_size=1)
    model.gate.clear()
    row = {"x": np.ones((1, 2), np.float32)}
    running = asyncio.create_task(batcher.submit(row, ("y",)))
    await _one_runs(metrics)
    waiting = [asyncio.create_task(batcher.submit(row, ("y",))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(InferenceError, match="queue of model 'm' is full: 2") as caught:
        await batcher.submit(row, ("y",))
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
    waiting[0].cancel()
    running.cancel()
    await asyncio.gather(running, waiting[0], return_exceptions=True)
    assert _value(metrics, "nv_inference_pending_request_count{") == 1
    last = asyncio.create_task(batcher.submit(row, ("y",)))
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(waiting[1], last)
    assert model.rows == [1, 1, 1], "the cancelled one never ran"
    await batcher.finish()


async def test_finishing_answers_what_is_queued_and_refuses_the_rest(tmp_path):
    batcher, *_ = _batcher(graphs.scaled(tmp_path / "m.onnx"), max_batch_size=2, max_delay_ms=60_000)
    row = {"x": np.ones((1, 2), np.float32)}
    queued = asyncio.create_task(batcher.submit(row, ("y",)))
    await asyncio.sleep(0.01)
    await batcher.finish()
    assert (await queued)[0].array.tolist() == [[2.0, 2.0]]
    with pytest.raises(InferenceError, match="being unloaded"):
        await batcher.submit(row, ("y",))


async def test_probabilities_as_maps_are_batched_and_split_like_any_output(tmp_path):
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data = load_iris()
    rows = data.data.astype(np.float32)
    classifier = LogisticRegression(max_iter=500).fit(rows, data.target)
    graph = to_onnx(classifier, rows[:1], options={id(classifier): {"zipmap": True}})
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    assert Model(tmp_path / "m.onnx", ModelSettings()).batchable
    batcher, model, _ = _batcher(tmp_path / "m.onnx", max_batch_size=64)
    parts = [rows[i : i + 1 + i % 3] for i in range(0, 60, 3)]
    model.gate.clear()
    names = ("output_label", "output_probability")
    tasks = [asyncio.create_task(batcher.submit({"X": part}, names)) for part in parts]
    await asyncio.sleep(0.01)
    model.gate.set()
    for part, (label, scores) in zip(parts, await asyncio.gather(*tasks), strict=True):
        assert label.array.tolist() == classifier.predict(part).tolist()
        assert np.allclose(scores.array, classifier.predict_proba(part), atol=1e-5)
        assert scores.classes == (0, 1, 2)
    assert len(model.rows) < len(parts)
    await batcher.finish()
