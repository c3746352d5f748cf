"""Files that hold what no kernel would write, and paths that cannot be looked at."""

from pathlib import Path

import pytest

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host


@pytest.mark.parametrize("content", [b"\0", b"", b"\n", "٣\n".encode(), b"1_0\n", b"0x\n", b"9" * 20, b"\xff"])
@pytest.mark.parametrize("default", [None, 7])
def test_what_is_no_number_is_said_to_be_none(tmp_path: Path, content: bytes, default: int | None) -> None:
    (tmp_path / "numa_node").write_bytes(content)
    with pytest.raises(ProbeError, match=r"^/numa_node: "):
        Host(tmp_path).number("/numa_node", default)


@pytest.mark.parametrize(("content", "value"), [(b"-1\n", -1), (b"0x10\n", 16), (b"12", 12)])
def test_numbers_are_decimal_or_hexadecimal(tmp_path: Path, content: bytes, value: int) -> None:
    (tmp_path / "n").write_bytes(content)
    assert Host(tmp_path).number("/n") == value


def test_only_an_absent_file_has_its_default(tmp_path: Path) -> None:
    assert Host(tmp_path).number("/n", 7) == 7
    with pytest.raises(ProbeError, match="no such file"):
        Host(tmp_path).number("/n")


def test_what_cannot_be_looked_at_is_not_taken_to_be_gone(tmp_path: Path) -> None:
    (tmp_path / "long").symlink_to("n" * 300)
    host = Host(tmp_path)
    assert host.exists("/long")
    with pytest.raises(ProbeError, match=r"^/long: cannot be read: File name too long"):
        host.text("/long", "")
    assert not host.exists("/nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert not host.exists("/loop")
