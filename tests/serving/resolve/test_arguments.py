"""Arguments of runtime and service together: what is suggested gives way, what is demanded does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.resolve.arguments import flags, merged
from fairlead.serving.resolve.expressions import Scope
from fairlead.serving.resolved import Unservable

SCOPE = Scope({"model": {"name": "m", "aliases": ["a", "b"]}, "parallelism": {"tensor": 4}}, "ServingRuntime x")


def together(required: list[str], suggested: list[str], own: list[str]) -> list[str]:
    return list(merged(required, suggested, own, SCOPE, "x"))


@pytest.mark.parametrize(
    "own",
    [["--seqs", "3"], ["--seqs=3"], ["--no-seqs"]],
)
def test_a_suggestion_gives_way_to_the_same_flag_however_it_is_written(own: list[str]) -> None:
    assert together([], ["--seqs 256", "--other 1"], own) == ["--other", "1", *own]


def test_underscores_and_settings_are_the_same_flag() -> None:
    assert together([], ["--max-num-seqs 256"], ["--max_num_seqs", "3"]) == ["--max_num_seqs", "3"]
    assert together([], ["max_len=1", "n=2"], ["max_len=5"]) == ["n=2", "max_len=5"]


@pytest.mark.parametrize("own", [["--trust", "no"], ["--no-trust"], ["--trust=no"]])
def test_what_is_demanded_cannot_be_changed(own: list[str]) -> None:
    with pytest.raises(Unservable, match="demands --trust yes") as refused:
        together(["--trust yes"], [], own)
    assert refused.value.field == "args" and refused.value.value == "--trust"


def test_what_is_demanded_may_be_said_again_and_comes_last() -> None:
    assert together(["--trust yes"], ["--a 1"], ["--trust", "yes"]) == ["--a", "1", "--trust", "yes", "--trust", "yes"]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("--flag", ["--flag"]),
        ("--flag value with spaces", ["--flag", "value with spaces"]),
        ("--flag=value", ["--flag=value"]),
        ("--flag ${parallelism.tensor}", ["--flag", "4"]),
        ("--flag ${model.aliases}", ["--flag", "a", "b"]),
        ("--flag ${parallelism.tensor > 1}", ["--flag"]),
        ("--flag ${parallelism.tensor > 9}", []),
        ("--flag ${null}", []),
        ("--flag=${model.name}", ["--flag=m"]),
        ("${model.aliases}", ["a", "b"]),
        ("${null}", []),
        ("positional text", ["positional text"]),
        ('--json {"a": 1}', ["--json", '{"a": 1}']),
    ],
)
def test_one_text_is_one_flag_with_its_value(text: str, arguments: list[str]) -> None:
    assert together([], [text], []) == arguments


def test_negative_numbers_are_no_flags() -> None:
    assert list(flags(["--seed", "-1", "-tp", "2", "x"])) == ["--seed", "-tp"]


@given(st.lists(st.sampled_from(["--a", "--b", "--no-a", "--c=1", "x", "1"]), max_size=6))
def test_the_services_arguments_stay_as_they_are_and_no_flag_is_suggested_that_it_has(own: list[str]) -> None:
    made = together([], ["--a 5", "--b", "--d 7"], own)
    assert made[len(made) - len(own) :] == own
    suggested = set(flags(made[: len(made) - len(own)]))
    assert suggested.isdisjoint(flags(own)) and "--d" in suggested
