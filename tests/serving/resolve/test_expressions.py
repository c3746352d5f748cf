"""Expressions in texts: types are kept, text is text, and what cannot be evaluated is told with what there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.resolve.expressions import Scope, variables
from fairlead.serving.resolved import Unservable

VALUES = {
    "model": {"name": "m", "aliases": ["a", "b"]},
    "service": {"name": "s", "labels": {"tier": "gold"}},
    "parallelism": {"tensor": 4},
}
SCOPE = Scope(VALUES, "ServingRuntime x")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${model.name}", "m"),
        ("${parallelism.tensor * 2}", 8),
        ("${parallelism.tensor > 1}", True),
        ("${model.aliases}", ["a", "b"]),
        ("${has(model.maxContextTokens) ? model.maxContextTokens : null}", None),
        ("tp${parallelism.tensor}-${model.name}", "tp4-m"),
        ("is ${parallelism.tensor > 1}", "is true"),
        ("${service.labels['tier']}", "gold"),
        ("$${HOME}", "${HOME}"),
        ("$${a} ${model.name} $${b}", "${a} m ${b}"),
        ("${'}'}", "}"),
        ("${{'k': 'v'}['k']}", "v"),
        ("$(POD_IP) $HOME", "$(POD_IP) $HOME"),
    ],
)
def test_results(text: str, result: Any) -> None:
    assert SCOPE.expand(text, "args[0]") == result


def test_lists_and_objects_are_expanded_and_other_values_stay() -> None:
    value = {"a": ["${model.name}", 3, None], "${k}": {"b": "${parallelism.tensor}"}, "c": True}
    assert SCOPE.expand(value, "template") == {"a": ["m", 3, None], "${k}": {"b": 4}, "c": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${model.nme}", "undefined field 'nme'"),
        ("${modell}", "undeclared reference to 'modell'"),
        ("${service.labels['x']}", "no such key: x"),
        ("a${model.aliases}", "no place inside a text"),
        ("${model.name", "no closing brace"),
        ("${1 / 0}", "division by zero"),
        ("${)}", "yntax error"),
    ],
)
def test_what_is_wrong_is_told_with_field_expression_and_variables(text: str, said: str) -> None:
    with pytest.raises(Unservable) as refused:
        SCOPE.expand(["x", text], "args")
    assert said in str(refused.value)
    assert refused.value.field == "args[1] of ServingRuntime x"
    assert str(refused.value.value).startswith("${")
    assert "parallelism: tensor, pipeline" in refused.value.remedy


@given(st.text(alphabet="ab$ {}'\\", max_size=20))
def test_a_text_with_everything_escaped_is_itself(text: str) -> None:
    escaped = text.replace("${", "$${")
    # `$` before an escape is one more dollar, which is told from the escape by its place.
    if "$${" not in text:
        assert SCOPE.expand(escaped, "f") == text


def test_every_variable_has_a_type() -> None:
    assert variables()["parallelism"]["devicesPerHost"] == "int"
