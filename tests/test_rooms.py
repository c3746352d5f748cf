"""Which worker runs what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rooms import choose, folder_of, order

FOLDERS = st.sampled_from(["tests/e2e", "tests/kube", "tests/gateway/flow", "tests/workload"])


def test_a_test_is_of_its_file_s_folder() -> None:
    assert folder_of("tests/kube/test_client.py::TestIt::test_it[a/b::c]") == "tests/kube"
    assert folder_of("tests/test_clock.py::test_it") == "tests"


def test_what_takes_long_starts_first() -> None:
    folders = ["tests/workload", "tests/gateway/flow", "tests", "tests/e2e"]
    assert sorted(folders, key=order) == ["tests/e2e", "tests/gateway/flow", "tests/workload", "tests"]


@given(st.lists(FOLDERS, min_size=1), st.dictionaries(st.sampled_from("abcd"), FOLDERS))
def test_a_worker_stays_where_it_is_and_joins_others_only_when_each_folder_has_one(
    waiting: list[str], now_in: dict[str, str]
) -> None:
    chosen = choose(waiting, "a", now_in)
    assert chosen in waiting
    if now_in.get("a") in waiting:
        assert chosen == now_in["a"]
    elif set(waiting) - {now_in[name] for name in now_in if name != "a"}:
        assert chosen not in {now_in[name] for name in now_in if name != "a"}
