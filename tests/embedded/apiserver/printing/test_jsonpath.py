"""JSON paths of printer columns."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.printing.jsonpath import PathError, compile_path

OBJECT = {
    "metadata": {"name": "n", "labels": {"a.b/c": "x"}},
    "spec": {
        "list": ["p", "q", "r"],
        "items": [{"type": "Ready", "status": "True", "n": 1}, {"type": "Other", "status": "False", "n": 2}],
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".metadata.name", ["n"]),
        ("metadata.name", ["n"]),
        ("{.metadata.name}", ["n"]),
        ("$.metadata.name", ["n"]),
        (".metadata['name']", ["n"]),
        (r".metadata.labels.a\.b/c", ["x"]),
        (".metadata.labels['a.b/c']", ["x"]),
        (".spec.list", [["p", "q", "r"]]),
        (".spec.list[*]", ["p", "q", "r"]),
        (".spec.list[-1]", ["r"]),
        (".spec.list[0:2]", ["p", "q"]),
        (".spec.list[::2]", ["p", "r"]),
        (".spec.list[0,2]", ["p", "r"]),
        (".spec.list[9]", []),
        (".spec.missing.deeper", []),
        ('.spec.items[?(@.type=="Ready")].status', ["True"]),
        (".spec.items[?(@.type!='Ready')].status", ["False"]),
        (".spec.items[?(@.n>1)].type", ["Other"]),
        (".spec.items[?(@.missing)].type", []),
        ('.spec.items[?(@.type=="a == b")].type', []),
        ("..status", ["True", "False"]),
        (".spec.items[*].n", [1, 2]),
    ],
)
def test_paths_find_values(path: str, found: list[Any]) -> None:
    assert compile_path(path)(OBJECT) == found


@pytest.mark.parametrize("path", [".spec.list[", ".spec.list[x]", ".spec.list[0", ".a b", ".spec.items[?(@.a==b)]"])
def test_malformed_paths_are_refused(path: str) -> None:
    with pytest.raises(PathError):
        compile_path(path)


@given(st.text(max_size=30))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        find = compile_path(text)
    except PathError:
        return
    assert isinstance(find(OBJECT), list)
