"""Which worker runs what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rooms import choose, folder_of, order

FOLDERS = st.sampled_from(["tests/e2e", "tests/kube", "tests/gateway/flow", "tests/workload"])
WORKERS = st.sampled_from(["gw0", "gw1", "gw2", "gw3"])


def test_a_test_is_of_its_file_s_folder() -> None:
    assert folder_of("tests/kube/test_client.py::TestIt::test_it[a/b::c]") == "tests/kube"
    assert folder_of("tests/test_clock.py::test_it") == "tests"


def test_what_waits_stands_in_front() -> None:
    folders = ["tests/workload", "tests/gateway/flow", "tests", "tests/e2e"]
    assert sorted(folders, key=order) == ["tests/e2e", "tests/gateway/flow", "tests/workload", "tests"]


def test_every_second_worker_begins_at_the_back() -> None:
    left = ["tests/e2e", "tests/kube", "tests/workload"]
    assert [choose(left, worker, {}) for worker in ("gw0", "gw1", "gw12")] == [left[0], left[2], left[0]]


@given(st.lists(FOLDERS, min_size=1, unique=True), st.dictionaries(WORKERS, FOLDERS), WORKERS)
def test_a_worker_stays_where_it_is_and_joins_others_only_when_each_folder_has_one(
    left: list[str], now_in: dict[str, str], worker: str
) -> None:
    chosen = choose(left, worker, now_in)
    taken = {now_in[name] for name in now_in if name != worker}
    assert chosen in left
    if now_in.get(worker) in left:
        assert chosen == now_in[worker]
    elif set(left) - taken:
        assert chosen not in taken
