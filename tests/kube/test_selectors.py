from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.selectors import (
    FieldRequirement,
    Selector,
    escape_field_value,
    from_label_selector,
    from_labels,
    parse_field_selector,
    parse_label_selector,
)

words = st.from_regex(re.compile(r"[a-z0-9]([-a-z0-9_.]{0,8}[a-z0-9])?", re.ASCII), fullmatch=True)
label_maps = st.dictionaries(words, words, max_size=4)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("!app", {"app": "x"}, False),
        ("app=web", {"app": "web"}, True),
        ("app==web,tier!=db", {"app": "web"}, True),
        ("tier!=db", {"tier": "db"}, False),
        ("app in (web, api)", {"app": "api"}, True),
        ("app in (web, api)", {}, False),
        ("app notin (web)", {}, True),
        ("app notin (web)", {"app": "web"}, False),
        ("app in ()", {"app": ""}, True),
        ("app=", {"app": ""}, True),
        ("cores>4", {"cores": "5"}, True),
        ("cores>4", {"cores": "four"}, False),
        ("cores<4", {}, False),
        ("in in (in)", {"in": "in"}, True),
    ],
)
def test_label_selector_matches(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_label_selector(text).matches(labels) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in 1", "unable to parse requirement: found '1' expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a>=1", "unable to parse requirement: found '=', expected: identifier"),
        ("a,,", "found ',', expected: identifier after ','"),
        ("=", "found '=', expected: !, identifier, or 'end of string'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        (
            "n>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
            "the value must be an integer",
        ),
    ],
)
def test_label_selector_errors_are_the_servers(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        parse_label_selector(text)


def test_invalid_keys_and_values_are_quoted() -> None:
    with pytest.raises(ValueError, match=r'^unable to parse requirement: <nil>: Invalid value: "-x": name part must'):
        parse_label_selector("-x")
    with pytest.raises(ValueError, match=r"values\[0\]\[k\].*must be no more than 63 bytes$"):
        parse_label_selector("k=" + "y" * 64)


@given(label_maps, label_maps)
def test_printed_selector_means_the_same(wanted: dict[str, str], labels: dict[str, str]) -> None:
    selector = from_labels(wanted)
    assert parse_label_selector(str(selector)) == selector
    assert selector.matches({**labels, **wanted})
    assert selector.matches(labels) == all(labels.get(k) == v for k, v in wanted.items())
    assert from_label_selector({"matchLabels": wanted}) == selector


def test_label_selector_objects() -> None:
    selector = from_label_selector(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "zone", "operator": "Exists"},
            ],
        }
    )
    assert str(selector) == "app=web,tier notin (db),zone"
    assert selector.matches({"app": "web", "zone": "a"})
    assert not from_label_selector(None).matches({})
    assert from_label_selector({}) == Selector()
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_field_selector() -> None:
    selector = parse_field_selector("status.phase!=Failed,metadata.name==a,spec.nodeName=")
    assert selector.requirements == (
        FieldRequirement("metadata.name", "=", "a"),
        FieldRequirement("spec.nodeName", "=", ""),
        FieldRequirement("status.phase", "!=", "Failed"),
    )
    assert selector.exact("metadata.name") == "a"
    assert selector.exact("status.phase") is None
    pod = {"metadata.name": "a", "spec.nodeName": "", "status.phase": "Running"}
    assert selector.matches(pod.__getitem__)
    assert not selector.matches({**pod, "spec.nodeName": "n"}.__getitem__)


@given(st.text(max_size=12))
def test_field_values_survive_escaping(value: str) -> None:
    selector = parse_field_selector(f"metadata.name={escape_field_value(value)}")
    assert selector.exact("metadata.name") == value
    assert parse_field_selector(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ],
)
def test_field_selector_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        parse_field_selector(text)
