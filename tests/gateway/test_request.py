"""Reading a body once."""

import pytest

from fairlead.gateway.request import BadBody, parse


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
