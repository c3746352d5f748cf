"""Models on a file system: folders, single files, links inside and out, files that change under the reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.serving.store.sources import BadSource, Changed, NotThere, Unsafe, open_source, read_settings


async def names(path: Path | str) -> list[str]:
    source = open_source(str(path), {})
    return [f.name for f in (await source.listing()).files]


async def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("config.json", "sub/a.bin", ".cache/x", "README.md", "w.safetensors"):
        (tmp_path / name).write_text(name)
    assert await names(tmp_path) == ["README.md", "config.json", "w.safetensors"], "weights are not there twice"
    assert await names(f"file://{tmp_path}/config.json") == ["config.json"]


async def test_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "real").write_text("x")
    (folder / "inside").symlink_to("real")
    assert await names(folder) == ["inside", "real"]
    (folder / "out").symlink_to(outside)
    with pytest.raises(Unsafe, match="leads out of the model's folder"):
        await names(folder)


async def test_the_hubs_own_cache_is_read_though_its_links_lead_out(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--o--m" / "snapshots" / ("c" * 40)
    blobs = tmp_path / "models--o--m" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/1")
    assert await names(snapshot) == ["config.json"]


async def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="there is no"):
        await names(tmp_path / "none")
    with pytest.raises(NotThere, match="no files"):
        await names(tmp_path)
    with pytest.raises(BadSource):
        await names("relative")


async def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    source = open_source(str(path), {})
    [file] = (await source.listing()).files
    assert b"".join([part async for part in source.read(file, 10, 20)]) == b"x" * 10
    path.write_bytes(b"y" * 101)
    with pytest.raises(Changed):
        async for _ in source.read(file, 0, None):
            pass


def test_settings_of_a_mounted_secret(tmp_path: Path) -> None:
    data = tmp_path / "..data"
    data.mkdir()
    (data / "HF_TOKEN").write_text("hf_x\n")
    (tmp_path / "HF_TOKEN").symlink_to("..data/HF_TOKEN")
    found = read_settings({"HF_TOKEN": "old", "PATH": "/bin"}, tmp_path)
    assert found == {"HF_TOKEN": "hf_x", "PATH": "/bin"}
    with pytest.raises(BadSource, match="cannot be read"):
        read_settings({}, tmp_path / "none")
