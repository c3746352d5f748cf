"""Which paths lead to models."""

import pytest

from fairlead.gateway.requests import POST_PATHS, Api, find


@pytest.mark.parametrize(
    ("path", "model", "method"),
    [
        ("/v2/models/iris", "iris", "GET"),
        ("/v2/models/iris/ready", "iris", "GET"),
        ("/v2/models/iris/infer", "iris", "POST"),
        ("/v2/models/iris/versions/3", "iris", "GET"),
        ("/v2/models/iris/versions/3/infer", "iris", "POST"),
        ("/v2/models/iris/generate_stream", "iris", "POST"),
        ("/v2/models/a%20b:c/infer", "a b:c", "POST"),
        ("/v1/models/iris:predict", "iris", "POST"),
        ("/v1/models/a:b:predict", "a:b", "POST"),
    ],
)
def test_paths_that_name_a_model(path, model, method):
    found = find(path)
    assert found is not None
    assert (found.model, found.methods[0], found.api) == (model, method, Api.PATH)


@pytest.mark.parametrize("path", POST_PATHS)
def test_paths_whose_body_names_the_model_take_post(path):
    found = find(path)
    assert found is not None
    assert (found.model, found.methods, found.api) == ("", ("POST",), POST_PATHS[path])


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models",
        "/v2/models/",
        "/v2/models//infer",
        "/v2/models/a/b/infer",
        "/v2/repository/models/a/load",
        "/v2/models/a/infer/",
        "/v1/models/iris",
        "/v1/models/iris:delete",
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "//v1/chat/completions",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/sleep",
        "/wake_up",
        "/reset_prefix_cache",
        "/collective_rpc",
        "/update_weights",
        "/flush_cache",
        "/release_memory_occupation",
        "/metrics",
    ],
)
def test_other_paths_are_none_of_a_model_and_engines_are_managed_elsewhere(path):
    assert find(path) is None


def test_further_paths_are_named_by_whoever_runs_the_gateway():
    found = find("/mine", {"/mine": Api.OTHER})
    assert found is not None and found.api is Api.OTHER
    assert find("/yours", {"/mine": Api.OTHER}) is None
