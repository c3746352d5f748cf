"""Models that come, change, break and go while the server runs."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fairlead.runtimes.onnx.layout import LayoutError
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from fairlead.runtimes.onnx.model import LoadError, Model
from fairlead.runtimes.onnx.repository import Repository
from fairlead.runtimes.onnx.settings import ModelSettings
from runtimes.onnx import graphs

_ONE = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}


async def _y(one, model="m"):
    return (await one.infer(model, _ONE))["outputs"][0]["data"][0]


async def _post(one, path, status=200, **content):
    async with one.rest.post(f"/v2/repository/{path}", **content) as response:
        assert response.status == status, await response.text()
        return await response.json() if response.content_type == "application/json" else None


async def test_a_reload_takes_the_new_file_and_the_index_tells(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx", 2.0)
    one = await serve(tmp_path)
    graphs.scaled(tmp_path / "m.onnx", 3.0)
    graphs.scaled(tmp_path / "n.onnx", 4.0)
    assert await _y(one) == 2
    await _post(one, "models/m/load")
    assert await _y(one) == 3
    index = {(e["name"], e["state"]) for e in await _post(one, "index")}
    assert index == {("m", "READY"), ("n", "UNAVAILABLE")}
    await _post(one, "models/n/load", json={"parameters": {"config": '{"max_batch_size": 4}'}})
    assert await _y(one, "n") == 4
    assert len(await _post(one, "index", json={"ready": True})) == 2
    await _post(one, "index", 400, data=b"[")


async def test_a_broken_file_does_not_take_the_place_of_a_good_one(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx", 2.0)
    one = await serve(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"not a graph")
    refusal = await _post(one, "models/m/load", 400)
    assert "cannot be loaded" in refusal["error"]
    assert await _y(one) == 2
    (entry,) = await _post(one, "index")
    assert entry["state"] == "READY"
    assert "cannot be loaded" in entry["reason"]


async def test_a_new_version_that_is_broken_leaves_the_old_one_newest(serve, tmp_path):
    graphs.scaled(tmp_path / "m" / "1" / "model.onnx", 2.0)
    one = await serve(tmp_path)
    broken = tmp_path / "m" / "10" / "model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"")
    await _post(one, "models/m/load", 400)
    assert await _y(one) == 2
    await one.infer("m/versions/10", _ONE, 503)
    graphs.scaled(broken, 7.0)
    await _post(one, "models/m/load")
    assert await _y(one) == 7
    broken.unlink()
    await _post(one, "models/m/load")
    assert await _y(one) == 2
    await one.infer("m/versions/10", _ONE, 404)


async def test_a_model_goes_on_without_its_file_until_it_is_unloaded(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx")
    graphs.scaled(tmp_path / "other.onnx")
    one = await serve(tmp_path)
    (tmp_path / "m.onnx").unlink()
    assert await _y(one) == 2
    await _post(one, "models/m/load", 404)
    assert await _y(one) == 2
    await _post(one, "models/m/unload")
    refusal = await one.infer("m", _ONE, 503)
    assert "unloaded" in refusal["error"]
    async with one.rest.get("/v2/models/m/ready") as response:
        assert response.status == 503
    assert await _y(one, "other") == 2
    page = one.service.metrics.page()
    assert b'fairlead_onnx_running_requests{model="m"' not in page
    assert b'nv_inference_request_success{model="m",version="1"} 2' in page


async def test_reloads_under_load_lose_no_request(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx", 2.0)
    one = await serve(tmp_path, max_delay_ms=2.0)
    answers: list[float] = []
    stop = False

    async def ask():
        while not stop:
            answers.append(await _y(one))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask())
        for factor in (3.0, 4.0, 5.0):
            await asyncio.sleep(0.05)
            graphs.scaled(tmp_path / "next", factor).replace(tmp_path / "m.onnx")
            await _post(one, "models/m/load")
        await asyncio.sleep(0.05)
        stop = True
    assert set(answers) == {2, 3, 4, 5}
    assert answers[-1] == 5


async def test_lazy_models_load_when_first_asked_for(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"?")
    one = await serve(tmp_path, lazy=True)
    assert {e["state"] for e in await _post(one, "index")} == {"UNAVAILABLE"}
    assert await asyncio.gather(*(_y(one) for _ in range(5))) == [2] * 5
    refusal = await one.infer("broken", _ONE, 503)
    assert "cannot be loaded" in refusal["error"]


async def test_a_single_model_has_every_name_it_is_given(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "file.onnx"), "iris", "flowers")
    assert await _y(one, "iris") == await _y(one, "flowers") == 2
    await one.infer("file", _ONE, 404)
    await _post(one, "models/flowers/unload")
    await one.infer("iris", _ONE, 503)


async def test_a_repository_that_goes_away_leaves_what_is_loaded(serve, tmp_path):
    graphs.scaled(tmp_path / "models" / "m.onnx")
    one = await serve(tmp_path / "models")
    (tmp_path / "models").rename(tmp_path / "gone")
    await _post(one, "models/m/load", 404)
    await _post(one, "models/other/load", 404)
    assert [e["name"] for e in await _post(one, "index")] == ["m"]
    assert await _y(one) == 2


async def test_names_that_are_no_models_of_a_folder(serve, tmp_path):
    graphs.scaled(tmp_path / "a.onnx")
    graphs.scaled(tmp_path / "b.onnx")
    with pytest.raises(LayoutError, match=r"has no model 'c': it holds a, b"):
        await Repository(tmp_path, ("a", "c"), ModelSettings(), RuntimeMetrics()).open()


async def test_only_named_models_must_load(tmp_path):
    graphs.scaled(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"?")
    repository = Repository(tmp_path, ("a",), ModelSettings(), RuntimeMetrics())
    await repository.open()
    assert repository.ready("a")
    assert not repository.ready("b")
    await repository.close()
    repository = Repository(tmp_path, ("b",), ModelSettings(), RuntimeMetrics())
    with pytest.raises(LoadError, match=r"b.onnx cannot be loaded"):
        await repository.open()
    await repository.close()


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("labels", ["numbers", "words"])
def test_probabilities_of_classifiers_with_and_without_zipmap(tmp_path, zipmap, labels):
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data = load_iris()
    rows = data.data.astype(np.float32)
    classes = data.target if labels == "numbers" else data.target_names[data.target]
    classifier = LogisticRegression(max_iter=500).fit(rows, classes)
    graph = to_onnx(classifier, rows[:1], options={id(classifier): {"zipmap": zipmap}})
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    model = Model(tmp_path / "m.onnx", ModelSettings())
    names = [spec.name for spec in model.signature.outputs]
    label, scores = model.run({"X": rows}, names)
    assert label.array.tolist() == classifier.predict(rows).tolist()
    assert np.allclose(scores.array, classifier.predict_proba(rows), atol=1e-5)
    assert model.signature.outputs[1].datatype == "FP32"
    assert model.signature.outputs[1].accepts(scores.array.shape)
    assert scores.classes == (tuple(classifier.classes_.tolist()) if zipmap else None)
