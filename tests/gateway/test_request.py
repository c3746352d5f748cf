"""Reading a body once."""

import pytest

from fairlead.gateway.request import BadBody, model_in_path, parse


def test_only_what_routing_needs_is_read():
    assert parse(b'{"messages": [{"role": 3, "content": {}}], "model": "m", "stream": "x"}').model == "m"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"\xff\xfe", None),
        (b'{"model": "m"', None),
        (b"[]", None),
        (b"{}", "model"),
        (b'{"model": null}', "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": 3}', "model"),
    ],
)
def test_bad_bodies_name_the_field_at_fault(body, param):
    with pytest.raises(BadBody) as caught:
        parse(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("path", "model", "method"),
    [
        ("/v2/models/iris", "iris", "GET"),
        ("/v2/models/iris/ready", "iris", "GET"),
        ("/v2/models/iris/infer", "iris", "POST"),
        ("/v2/models/iris/versions/3", "iris", "GET"),
        ("/v2/models/iris/versions/3/infer", "iris", "POST"),
        ("/v2/models/a%20b:c/infer", "a b:c", "POST"),
        ("/v1/models/iris:predict", "iris", "POST"),
        ("/v1/models/a:b:predict", "a:b", "POST"),
    ],
)
def test_paths_that_name_a_model(path, model, method):
    named = model_in_path(path)
    assert named is not None
    assert (named.model, named.methods[0]) == (model, method)


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
        "/v1/chat/completions",
    ],
)
def test_paths_that_name_none(path):
    assert model_in_path(path) is None
