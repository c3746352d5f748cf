"""Which models a path holds."""

from __future__ import annotations

import pytest

from fairlead.runtimes.onnx.errors import InferenceError
from fairlead.runtimes.onnx.layout import LayoutError, find_models, source_path
from fairlead.runtimes.onnx.settings import ModelSettings, override, settings_of


def _touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_of_models_in_every_form(tmp_path):
    _touch(tmp_path, "a.onnx", "a.serving.json", "b/model.onnx", "c/1/model.onnx", "c/12/model.onnx", "c/serving.json",
           "c/latest/model.onnx", "notes.txt", ".hidden.onnx", "empty/readme")  # fmt: skip
    found = find_models(tmp_path)
    assert {name: sorted(files.versions) for name, files in found.items()} == {"a": ["1"], "b": ["1"], "c": ["1", "12"]}
    assert found["a"].settings == tmp_path / "a.serving.json"
    assert found["b"].settings is None
    assert found["c"].settings == tmp_path / "c" / "serving.json"


def test_a_single_model_is_called_as_told_or_as_its_path(tmp_path):
    _touch(tmp_path, "one.onnx", "iris/3/model.onnx")
    assert list(find_models(tmp_path / "one.onnx")) == ["one"]
    assert list(find_models(tmp_path / "one.onnx", "m")) == ["m"]
    assert list(find_models(tmp_path / "iris")) == ["iris"]
    assert list(find_models(tmp_path / "iris", "m")) == ["m"]


@pytest.mark.parametrize(
    ("name", "words"), [("gone", "does not exist"), ("x.txt", "not an .onnx"), ("dir", "no model")]
)
def test_paths_without_models(tmp_path, name, words):
    _touch(tmp_path, "x.txt", "dir/readme")
    with pytest.raises(LayoutError, match=words):
        find_models(tmp_path / name)


def test_sources():
    assert str(source_path("file:///a/b")) == str(source_path("/a/b")) == "/a/b"
    for source in ("", "relative", "file://relative", "hf://org/model"):
        with pytest.raises(LayoutError, match="absolute path"):
            source_path(source)


def test_settings_of_a_model_override_the_defaults(tmp_path):
    file = tmp_path / "serving.json"
    file.write_text('{"max_batch_size": 8}')
    defaults = ModelSettings(max_delay_ms=3, instances=2)
    assert settings_of(file, defaults) == ModelSettings(max_batch_size=8, max_delay_ms=3, instances=2)
    assert settings_of(None, defaults) is defaults


@pytest.mark.parametrize("text", ["{", "[]", '{"max_batch_size": 0}', '{"max_batch_sise": 1}', '{"max_delay_ms": "1"}'])
def test_settings_that_are_none(text):
    with pytest.raises(InferenceError, match=r"^here: .*max_batch_size"):
        override(ModelSettings(), text.encode(), "here")
