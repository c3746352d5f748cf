"""Host lists, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.hostlist import compact, expand, natural

NAMES = st.from_regex(r"[a-z]{1,3}(-[a-z])?[0-9]{0,3}", fullmatch=True)


@given(st.sets(NAMES, max_size=30))
def test_compacted_names_expand_to_the_same(names: set[str]) -> None:
    assert set(expand(compact(names))) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10],x", ["n08", "n09", "n10", "x"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("", []),
    ],
)
def test_expand(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["n2", "n1", "n4"], "n[1-2,4]"),
        (["n09", "n10"], "n[09-10]"),
        (["a", "b7"], "a,b7"),
        (["s.1.9", "s.1.10"], "s.1.[9-10]"),
    ],
)
def test_compact(names: list[str], text: str) -> None:
    assert compact(names) == text


@pytest.mark.parametrize("text", ["n[1-3", "n[3-1]", "n[a-b]", "n[1-9999999]", "n]1["])
def test_what_is_no_host_list_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="host list"):
        expand(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n" + "[1]" * 5000, "brackets in one name"),
        (",".join(["n[1-60000]"] * 2000), "more than 100,000 names"),
        ("n[" + "1" * 5000 + "]", "neither a number nor a range"),
        ("n" * 5000, "longer than"),
    ],
)
def test_hostile_lists_are_refused(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        expand(text)


def test_a_long_run_of_digits_is_no_number() -> None:
    long = "n" + "1" * 5000
    assert compact([long, "n1", "n2"]) == f"n[1-2],{long}"
    assert sorted([long, "n2"], key=natural) == ["n2", long]
