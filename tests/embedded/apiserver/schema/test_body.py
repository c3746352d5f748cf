import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.schema.body import parse_body
from fairlead.embedded.apiserver.schema.json_syntax import syntax_error
from fairlead.kube.errors import BadRequest

JSON, YAML = "application/json", "application/yaml"


def test_objects_and_null() -> None:
    assert parse_body(b'{"a": [1, "x"]}', JSON) == ({"a": [1, "x"]}, [])
    assert parse_body(b" null ", JSON) == ({}, [])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"nope", "invalid character 'o' in literal null (expecting 'u')"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b'{"a":"\n"}', "invalid character '\\n' in string literal"),
        (b'{"a":"\\x"}', "invalid character 'x' in string escape code"),
        (b'{"a":-}', "invalid character '}' in numeric literal"),
        (b'{"a":1.}', "invalid character '}' after decimal point in numeric literal"),
        (b"<html>", "invalid character '<' looking for beginning of value"),
    ],
)
def test_bad_json_is_told_as_go_tells_it(data: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as error:
        parse_body(data, JSON)
    assert error.value.message == f"json parse error: {message}"


@pytest.mark.parametrize(("data", "kind"), [(b"[]", "array"), (b'"x"', "string"), (b"1", "number"), (b"true", "bool")])
def test_other_values_are_no_objects(data: bytes, kind: str) -> None:
    with pytest.raises(
        BadRequest, match=f"json parse error: json: cannot unmarshal {kind} into Go value of type struct"
    ):
        parse_body(data, JSON)


def test_duplicates_are_told_and_the_last_counts() -> None:
    data = b'{"spec": {"x": 1, "l": [{"k": 1, "k": 2}], "x": 2, "x": 3}, "quoted": "a\\":b"}'
    obj, problems = parse_body(data, JSON)
    assert obj["spec"] == {"x": 3, "l": [{"k": 2}]}
    assert problems == ['duplicate field "spec.l[0].k"', 'duplicate field "spec.x"']


def test_duplicates_with_space_before_the_colon() -> None:
    assert parse_body(b'{"a" :1,"a":2}', JSON)[1] == ['duplicate field "a"']


def test_yaml_reads_as_go_does() -> None:
    data = b"a: yes\nb: 2020-01-01\nc: 12:30\nd: 1e3\ne: 0x1F\nf: 010\ng: ~\nh: 'yes'\n1: x\ni: 1_000\nj: <<\nk: .5\n"
    obj, problems = parse_body(data, YAML)
    assert obj == {
        "a": True, "b": "2020-01-01", "c": "12:30", "d": 1000, "e": 31, "f": 8, "g": None, "h": "yes", "1": "x",
        "i": 1000, "j": "<<", "k": 0.5,
    }  # fmt: skip
    assert problems == []


def test_yaml_merges_anchors_and_tells_duplicates() -> None:
    obj, problems = parse_body(b"x: &x {a: 1}\nz:\n  <<: *x\n  b: 2\nb: 1\nb: 2\n", YAML)
    assert obj == {"x": {"a": 1}, "z": {"a": 1, "b": 2}, "b": 2}
    assert problems == ['yaml: unmarshal errors:\n  line 6: key "b" already set in map']


def test_bad_yaml_names_the_line() -> None:
    with pytest.raises(BadRequest, match="yaml: line 2: "):
        parse_body(b"a: [\n", YAML)


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u\n', max_size=30))
def test_the_scanner_agrees_with_a_parser(text: str) -> None:
    try:
        json.loads(text)
        is_valid = True
    except ValueError:
        is_valid = False
    assert (syntax_error(text.encode()) is None) == is_valid
