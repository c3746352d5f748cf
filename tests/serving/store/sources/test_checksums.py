"""Checksums that sources name, against what their own tools compute."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.store.sources import Checksum
from fairlead.serving.store.sources.checksums import file_checksums
from fairlead.serving.store.sources.crc32c import crc32c


def slow_crc32c(data: bytes) -> int:
    """RFC 3720 bit by bit."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0), (b"123456789", 0xE3069283), (b"\0" * 32, 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_crc32c_has_the_published_values(data: bytes, value: int) -> None:
    """Those of RFC 3720, appendix B.4."""
    assert crc32c(data) == value


@given(st.binary(max_size=300), st.integers(0, 300))
def test_crc32c_goes_on(data: bytes, cut: int) -> None:
    assert crc32c(data[cut:], crc32c(data[:cut])) == slow_crc32c(data)


@pytest.mark.parametrize("size", [8192 * 4 * 4, 8192 * 4 * 4 + 3, 400_001])
def test_crc32c_of_what_is_long(size: int) -> None:
    data = os.urandom(size)
    assert crc32c(data, crc32c(b"before")) == slow_crc32c(b"before" + data)


def test_all_kinds(tmp_path: Path) -> None:
    data = os.urandom(5_000_003)
    path = tmp_path / "f"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    parts = [data[i : i + 2_000_000] for i in range(0, len(data), 2_000_000)]
    joined = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()
    expected = {
        Checksum("sha256", ""): sha256,
        Checksum("md5", ""): hashlib.md5(data).hexdigest(),
        Checksum("git-sha1", ""): hashlib.sha1(b"blob 5000003\0" + data).hexdigest(),
        Checksum("s3-multipart", "", 2_000_000): f"{joined}-3",
        Checksum("crc32c", ""): f"{crc32c(data):08x}",
    }
    for checksum, value in expected.items():
        assert file_checksums(path, checksum) == (sha256, value), checksum
    assert file_checksums(path, None) == (sha256, "")


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (10, 1), (20, 2), (21, 3)])
def test_the_number_of_parts(tmp_path: Path, size: int, parts: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    assert file_checksums(tmp_path / "f", Checksum("s3-multipart", "", 10))[1].endswith(f"-{parts}")
