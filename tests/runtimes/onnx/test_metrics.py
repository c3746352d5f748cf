"""The metrics page: a valid one, with Triton's names where they mean the same."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from runtimes.onnx import graphs


def _samples(page: bytes) -> dict[str, float]:
    return {
        # The parser gives every counter the ending _total.
        s.name.removesuffix("_total") + str(sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(page.decode())
        for s in family.samples
    }


def test_names_with_any_character_make_a_readable_page():
    metrics = RuntimeMetrics()
    metrics.loaded('a"b\\c\nd', "1", 0.5)
    metrics.answered('a"b\\c\nd', "1", "rest", 200, 0.25)
    metrics.answered("", "", "rest", 404, 0.1)
    samples = _samples(metrics.page())
    labels = str([("model", 'a"b\\c\nd'), ("version", "1")])
    assert samples["nv_inference_request_success" + labels] == 1
    assert samples["nv_inference_request_duration_us" + labels] == 250_000
    assert samples["fairlead_onnx_model_load_duration_seconds" + labels] == 0.5


def test_types_and_names():
    metrics = RuntimeMetrics()
    metrics.loaded("m", "1", 0.5)
    page = metrics.page().decode()
    for name, kind in {
        "nv_inference_request_success": "counter",
        "nv_inference_request_failure": "counter",
        "nv_inference_count": "counter",
        "nv_inference_exec_count": "counter",
        "nv_inference_request_duration_us": "counter",
        "nv_inference_queue_duration_us": "counter",
        "nv_inference_compute_infer_duration_us": "counter",
        "nv_inference_pending_request_count": "gauge",
        "fairlead_onnx_requests_total": "counter",
        "fairlead_onnx_in_flight_requests": "gauge",
        "fairlead_onnx_running_requests": "gauge",
        "fairlead_onnx_request_duration_seconds": "histogram",
        "fairlead_onnx_queue_duration_seconds": "histogram",
        "fairlead_onnx_compute_duration_seconds": "histogram",
        "fairlead_onnx_batch_rows": "histogram",
        "fairlead_onnx_batch_requests": "histogram",
        "fairlead_onnx_model_load_duration_seconds": "gauge",
    }.items():
        assert f"# TYPE {name} {kind}\n" in page


async def test_counts_are_those_of_the_requests(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    for rows in (1, 4):
        body = {"inputs": [{"name": "x", "shape": [rows, 1], "datatype": "FP32", "data": [0] * rows}]}
        await one.infer("m", body)
    await one.infer("m", {}, 400)
    await one.infer("zz", {}, 404)
    async with one.rest.get("/metrics") as response:
        assert response.content_type == "text/plain"
        samples = _samples(await response.read())
    labels = str([("model", "m"), ("version", "1")])
    assert samples["nv_inference_request_success" + labels] == 2
    assert samples["nv_inference_count" + labels] == 5
    assert samples["nv_inference_exec_count" + labels] == 2
    assert samples["fairlead_onnx_batch_rows_sum" + labels] == 5
    assert samples["fairlead_onnx_request_duration_seconds_count" + labels] == 2
    assert samples["fairlead_onnx_queue_duration_seconds_count" + labels] == 2
    failure = str([("model", "m"), ("reason", "OTHER"), ("version", "1")])
    assert samples["nv_inference_request_failure" + failure] == 1
    unknown = str([("code", "404"), ("model", ""), ("protocol", "rest"), ("version", "")])
    assert samples["fairlead_onnx_requests" + unknown] == 1
