"""Safetensors by ranges: headers, tensors in the order of the file, and files that claim what is not so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.store.safetensors import DTYPE_BITS, parse_header, read_header, read_tensors
from fairlead.serving.store.sources import SourceFile, Unsafe
from fairlead.serving.store.sources.local import Local


class Memory:
    """A source of one file, which counts what is read of it."""

    url = "memory"

    def __init__(self, content: bytes, portion: int = 7) -> None:
        self.content, self.portion, self.given = content, portion, 0
        self.file = SourceFile("m.safetensors", len(content))

    async def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        whole = self.content[start:end]
        for offset in range(0, len(whole), self.portion):
            self.given += len(whole[offset : offset + self.portion])
            yield whole[offset : offset + self.portion]


def built(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


GOOD = built({"b": ("F32", [2, 3], bytes(range(24))), "a": ("BF16", [4], b"12345678"), "none": ("I64", [0, 7], b"")},
             {"format": "pt"})  # fmt: skip


async def test_the_header_alone_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(GOOD)
    source = Local(str(tmp_path / "m.safetensors"))
    [file] = (await source.listing()).files
    header = await read_header(source, file)
    assert [(t.name, t.dtype, t.shape, t.size) for t in header.tensors] == [
        ("b", "F32", (2, 3), 24), ("a", "BF16", (4,), 8), ("none", "I64", (0, 7), 0),
    ]  # fmt: skip
    assert header.metadata == {"format": "pt"} and header.weights_bytes == 32


async def test_tensors_stream_in_the_order_of_the_file() -> None:
    source = Memory(GOOD)
    found = {}
    async for tensor, parts in read_tensors(source, source.file):  # type: ignore[arg-type]
        found[tensor.name] = b"".join([part async for part in parts])
    assert list(found) == ["b", "a", "none"]
    assert found == {"b": bytes(range(24)), "a": b"12345678", "none": b""}


async def test_tensors_may_be_passed_over() -> None:
    source = Memory(GOOD)
    found = b""
    async for tensor, parts in read_tensors(source, source.file):  # type: ignore[arg-type]
        if tensor.name == "a":
            found = b"".join([part async for part in parts])
    assert found == b"12345678"


async def test_a_file_that_ends_early_is_told() -> None:
    source = Memory(GOOD)
    header = await read_header(source, source.file)  # type: ignore[arg-type]
    source.content = GOOD[:-3]
    with pytest.raises(Unsafe, match="ends inside a tensor"):
        async for _, parts in read_tensors(source, source.file, header):  # type: ignore[arg-type]
            async for _ in parts:
                pass


def header(**changes: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes
    return json.dumps({"t": entry}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"{", b'{"t": 1}', b"\xff", b'{"__metadata__": {"a": 1}}', b"[" * 100_000,
        header(dtype="F33"), header(shape=[3]), header(shape=[-1]), header(shape=[1] * 65), header(shape=["2"]),
        header(data_offsets=[0, 4]), header(data_offsets=[4, 12]), header(data_offsets=[8, 0]),
        header(data_offsets=[0, 8, 9]), header(data_offsets=[-8, 0]), header(dtype="F4", shape=[3]),
        header(shape=[2**62, 2**62]),
        b'{"a": {"dtype":"U8","shape":[2],"data_offsets":[0,2]}, "b": {"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
    ],
)  # fmt: skip
def test_headers_that_lie_are_refused(text: bytes) -> None:
    with pytest.raises(Unsafe):
        parse_header(text, "m.safetensors", None)


@pytest.mark.parametrize("content", [b"", b"1234", (2**63).to_bytes(8, "little") + b"{}", b"\xff" * 16, GOOD[:-1]])
async def test_files_that_are_none_are_refused(content: bytes) -> None:
    source = Memory(content)
    with pytest.raises(Unsafe):
        await read_header(source, source.file)  # type: ignore[arg-type]
    assert source.given <= len(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_refused(text: bytes) -> None:
    try:
        found = parse_header(text, "m", None)
    except Unsafe:
        return
    assert all(t.dtype in DTYPE_BITS for t in found.tensors)
