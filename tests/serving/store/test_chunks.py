"""Where files are cut: the parts are the file again, keep their bounds, and stay the same where nothing changed."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairlead.serving.store import chunks
from fairlead.serving.store.chunks import along_edges, by_content, cut, gear, part_bytes, tensor_edges
from serving.store.models import write_safetensors

USUAL = 4096
SCRATCH = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONTENTS = st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 1 << 30),
                     st.integers(0, 120_000))  # fmt: skip


def parts(content: bytes, folder: Path, usual: int = USUAL) -> list[bytes]:
    path = folder / "content.bin"
    path.write_bytes(content)
    ends = list(by_content(path, len(content), usual)) if content else []
    return [content[start:end] for start, end in pairwise([0, *ends])]


def digests(found: list[bytes]) -> set[bytes]:
    return {hashlib.sha256(part).digest() for part in found}


@given(content=CONTENTS)
@SCRATCH
def test_parts_are_the_file_and_keep_their_bounds(tmp_path: Path, content: bytes) -> None:
    found = parts(content, tmp_path)
    assert b"".join(found) == content
    for part in found[:-1]:
        assert USUAL // 2 <= len(part) <= USUAL * 4
    assert all(len(part) <= USUAL * 4 for part in found)
    assert found == parts(content, tmp_path), "the same content, the same cuts"


@given(content=st.sampled_from([bytes(100_000), b"ab" * 50_000, b"\xff" * 70_001]))
@SCRATCH
def test_content_without_variety_is_cut_at_the_longest(tmp_path: Path, content: bytes) -> None:
    found = parts(content, tmp_path)
    assert b"".join(found) == content and all(len(part) <= USUAL * 4 for part in found)


@given(
    seed=st.integers(0, 1 << 30),
    at=st.floats(0, 1),
    removed=st.integers(0, 3000),
    put=st.binary(max_size=3000),
)
@SCRATCH
def test_an_edit_changes_the_parts_that_it_touches(
    tmp_path: Path, seed: int, at: float, removed: int, put: bytes
) -> None:
    before = random.Random(seed).randbytes(150_000)
    start = int(at * len(before))
    after = before[:start] + put + before[start + removed :]
    old, new = parts(before, tmp_path), parts(after, tmp_path)
    changed = sum(len(part) for part in new if hashlib.sha256(part).digest() not in digests(old))
    # The part that was edited, and as many after it as the cuts need to fall into step: some at worst, not the rest.
    assert changed <= removed + len(put) + 12 * USUAL
    assert b"".join(new) == after


def test_what_moves_is_shared_on_average(tmp_path: Path) -> None:
    before = random.Random(3).randbytes(800_000)
    old, new = parts(before, tmp_path), parts(b"a longer header" + before, tmp_path)
    shared = sum(len(part) for part in new if hashlib.sha256(part).digest() in digests(old))
    assert shared > 0.97 * len(before)
    lengths = [len(part) for part in old]
    assert 0.7 * USUAL < sum(lengths) / len(lengths) < 1.4 * USUAL, "the usual length is the usual one"


@given(raw=st.binary(min_size=1, max_size=200))
@settings(deadline=None)
def test_the_hash_is_what_its_formula_says(raw: bytes) -> None:
    table = [int.from_bytes(hashlib.sha256(b"fairlead gear %d" % i).digest()[:4], "little") for i in range(256)]
    for i, found in enumerate(gear(raw)):
        window = [table[raw[i - j]] << j for j in range(min(32, i + 1))]
        assert int(found) == sum(window) % (1 << 32)


def test_cuts_never_change_between_versions_of_fairlead(tmp_path: Path) -> None:
    """Else nothing would be shared with what was pushed before: these numbers must stay as they are."""
    found = parts(random.Random(1).randbytes(60_000), tmp_path)
    assert [len(part) for part in found] == [
        2227,
        2456,
        3119,
        2236,
        3580,
        2435,
        2873,
        2123,
        4222,
        6516,
        8137,
        4243,
        5684,
        7685,
        2464,
    ]


@pytest.mark.parametrize("scan", [1, 33, 1000, chunks._SCAN_BYTES])
def test_how_much_is_read_at_a_time_matters_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: int) -> None:
    content = random.Random(2).randbytes(30_000)
    whole = parts(content, tmp_path)
    monkeypatch.setattr(chunks, "_SCAN_BYTES", scan)
    assert parts(content, tmp_path) == whole


@given(lengths=st.lists(st.integers(1, 30_000), min_size=1, max_size=40))
@settings(deadline=None)
def test_tensors_are_grouped_or_split(lengths: list[int]) -> None:
    edges = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    ends = along_edges(edges, USUAL)
    assert ends[-1] == edges[-1] and all(a < b for a, b in pairwise([0, *ends]))
    assert all(b - a <= USUAL + USUAL // 2 for a, b in pairwise([0, *ends]))
    starts = {0, *ends}
    for start, end in pairwise([0, *edges]):
        if end - start >= USUAL // 2:
            assert {start, end} <= starts, "a large tensor begins and ends a part, wherever it lies"


@given(
    sizes=st.lists(st.integers(1, 20_000), min_size=2, max_size=12),
    seed=st.integers(0, 1000),
    moved=st.integers(1, 5000),
)
@example(sizes=[1, 2048], seed=0, moved=1)
@SCRATCH
def test_large_tensors_are_shared_wherever_they_lie(tmp_path: Path, sizes: list[int], seed: int, moved: int) -> None:
    data = [random.Random(f"{seed} {i}").randbytes(size) for i, size in enumerate(sizes)]
    path = tmp_path / "m.safetensors"

    def found(tensors: list[bytes], note: str) -> set[bytes]:
        write_safetensors(path, tensors, note)
        content = path.read_bytes()
        ends = cut(path, USUAL)
        pieces = [content[start:end] for start, end in pairwise([0, *ends])]
        assert b"".join(pieces) == content
        assert len(content) > USUAL or len(pieces) == 1, "a short file is not cut"
        return digests(pieces)

    before = found(data, "")
    after = found(data[1:] + data[:1], "x" * moved)
    for tensor in data:
        if USUAL // 2 <= len(tensor) <= USUAL < sum(sizes):
            assert hashlib.sha256(tensor).digest() in before & after


@pytest.mark.parametrize(
    "content",
    [
        b"", b"1234567", (1 << 40).to_bytes(8, "little") + b"{}", b"\2\0\0\0\0\0\0\0[]rest",
        b'\7\0\0\0\0\0\0\0{"a":1}rest', b"\xff" * 100,
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"U8","shape":[9],"data_offsets":["x","y"]}}   ' + b"123456789",
    ],
)  # fmt: skip
def test_what_is_no_safetensors_is_cut_by_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert tensor_edges(path, len(content)) is None


@given(total=st.integers(0, 1 << 45))
def test_parts_are_few_enough_for_registries(total: int) -> None:
    usual = part_bytes(total)
    assert usual & (usual - 1) == 0 and chunks.LEAST_BYTES <= usual <= chunks.MOST_BYTES
    if total <= 1 << 37:
        assert total / usual <= 1024
    assert part_bytes(total + total // 100) in (usual, 2 * usual)
