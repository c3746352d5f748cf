from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.ownership import FieldSet
from fairlead.embedded.apiserver.ownership.fieldset import show_path

elements = st.sampled_from(["f:a", "f:b", "f:.", 'k:{"n":"x"}', 'k:{"n":5}', 'v:"s"', "v:1", "v:true", "i:0", "i:12"])
paths = st.lists(elements, min_size=1, max_size=3).map(tuple)
path_sets = st.sets(paths, max_size=6)


def below(path: tuple[str, ...], others: set[tuple[str, ...]]) -> bool:
    return any(path[:length] in others for length in range(1, len(path) + 1))


@given(path_sets)
def test_holds_the_paths_it_is_made_of(made_of: set[tuple[str, ...]]) -> None:
    fields = FieldSet.of_paths(made_of)
    assert set(fields.paths()) == made_of
    assert len(list(fields.paths())) == len(made_of)
    assert all(path in fields for path in made_of)
    assert bool(fields) == bool(made_of)


@given(path_sets, paths)
def test_membership(made_of: set[tuple[str, ...]], path: tuple[str, ...]) -> None:
    assert (path in FieldSet.of_paths(made_of)) == (path in made_of)


@given(path_sets)
def test_round_trip(made_of: set[tuple[str, ...]]) -> None:
    fields = FieldSet.of_paths(made_of)
    over_the_wire = json.loads(json.dumps(fields.tree))
    assert FieldSet.decode(over_the_wire) == fields
    assert json.dumps(FieldSet.decode(over_the_wire).tree) == json.dumps(fields.tree)


@given(path_sets, path_sets)
def test_algebra_is_that_of_sets_of_paths(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    a, b = FieldSet.of_paths(left), FieldSet.of_paths(right)
    assert set(a.union(b).paths()) == left | right
    assert set(a.intersection(b).paths()) == left & right
    assert set(a.difference(b).paths()) == left - right
    assert set(a.recursive_difference(b).paths()) == {path for path in left if not below(path, right)}
    assert set(a.only_below(b).paths()) == {path for path in left if below(path, right)}


@given(path_sets, path_sets)
def test_results_are_in_canonical_form(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    a, b = FieldSet.of_paths(left), FieldSet.of_paths(right)
    for result in (a.union(b), a.intersection(b), a.difference(b), a.recursive_difference(b), a.only_below(b)):
        assert result == FieldSet.of_paths(result.paths())
        assert json.dumps(result.tree) == json.dumps(FieldSet.decode(result.tree).tree)


def test_canonical_order() -> None:
    fields = FieldSet.of_paths(
        [("i:2",), ("v:true",), ('v:"a"',), ("v:3",), ('k:{"p":443}',), ('k:{"p":80}',), ("f:z",), ("f:b",), ("i:10",)]
    )
    assert list(fields.tree) == [
        "f:b", "f:z", 'k:{"p":80}', 'k:{"p":443}', "v:3", 'v:"a"', "v:true", "i:2", "i:10",
    ]  # fmt: skip


def test_a_member_with_members_below_it_carries_a_dot() -> None:
    assert FieldSet.of_paths([("f:a",), ("f:a", "f:b")]).tree == {"f:a": {".": {}, "f:b": {}}}
    assert FieldSet.decode({"f:a": {".": {}}}).tree == {"f:a": {}}


def test_members_of_a_node_come_before_what_lies_deeper() -> None:
    fields = FieldSet.of_paths([("f:a", "f:x"), ("f:b",)])
    assert list(fields.paths()) == [("f:b",), ("f:a", "f:x")]


def test_spelling_of_elements_is_canonical() -> None:
    assert FieldSet.decode({'k:{"protocol": "TCP", "containerPort": 80}': {}}).tree == {
        'k:{"containerPort":80,"protocol":"TCP"}': {}
    }


@pytest.mark.parametrize("bad", [[], "x", {"f:a": []}, {"x:a": {}}, {"k:[]": {}}, {"k:{": {}}, {"v:": {}}, {"i:x": {}}])
def test_malformed_fields(bad: object) -> None:
    with pytest.raises(ValueError):
        FieldSet.decode(bad)


def test_paths_for_people() -> None:
    assert (
        show_path(("f:spec", "f:list", 'k:{"containerPort":80,"protocol":"TCP"}', 'v:"x"', "i:3"))
        == '.spec.list[containerPort=80,protocol="TCP"][="x"][3]'
    )
