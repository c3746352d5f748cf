"""What is pushed is what ModelPack's specification and its JSON schema ask for, the same for the same files, and whole
for readers that know nothing of Fairlead: skopeo and tar, and any client that writes layers under their titles."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.store import describe, modelpack, oci
from fairlead.serving.store.artifacts import Pushing, pack
from fairlead.serving.store.errors import BadArtifact
from fairlead.serving.store.pack import find_files
from fairlead.serving.store.plan import plan
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.references import BadReference, parse_reference
from fairlead.serving.store.repository import Cancel
from serving.store.models import contents, write_model
from serving.store.pulling import pushed

HERE = parse_reference("layout:///nowhere:v1")


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """The schema allows no other properties anywhere (model-spec, schema/config-schema.json)."""


class Descriptor(_Strict):
    createdAt: str | None = None
    authors: list[str] = []
    family: str = ""
    name: str = ""
    docURL: str = ""
    sourceURL: str = ""
    datasetsURL: list[str] = []
    version: str = ""
    revision: str = ""
    vendor: str = ""
    licenses: list[str] = []
    title: str = ""
    description: str = ""


class Technical(_Strict):
    architecture: str = ""
    format: str = ""
    paramSize: str = ""
    precision: str = ""
    quantization: str = ""
    capabilities: dict[str, Any] = {}


class ModelFs(_Strict):
    type: Literal["layers"]
    diffIds: list[str]


class Config(_Strict):
    descriptor: Descriptor
    config: Technical
    modelfs: ModelFs


FORMS: dict[str, dict[str, object]] = {
    "raw": {"layout": "whole"},
    "chunked": {"part_bytes": 1 << 20},
    "tar": {"tar": True},
    "zstd": {"tar": True, "compression": "zstd"},
}


def packed(folder: Path, **how: object) -> tuple[dict[str, Any], Config, dict[str, bytes]]:
    """Manifest, config, and the blobs by digest."""
    artifact = pack(Pushing(folder, HERE, **how), Silent(), Cancel())  # type: ignore[arg-type]
    blobs = {}
    for descriptor, source in artifact.blobs:
        room = bytearray(source.size)
        at = 0
        while at < source.size:
            at += source.read_at(at, memoryview(room)[at:])
        blobs[descriptor.digest] = bytes(room)
    manifest = json.loads(artifact.manifests[-1][0])
    return manifest, msgspec.json.decode(blobs[manifest["config"]["digest"]], type=Config), blobs


@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS.keys())
def test_an_artifact_keeps_to_modelpack(tmp_path: Path, how: dict[str, object]) -> None:
    model = write_model(tmp_path / "m", (3 << 20, 40, 3 << 20))
    manifest, config, blobs = packed(model, **how, given={"licenses": "MIT", "version": "1.0", "name": "tiny"})
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert config.descriptor == Descriptor(name="tiny", family="llama", licenses=["MIT"], version="1.0")
    assert config.config == Technical(
        architecture="transformer", format="safetensors", paramSize="6.3M", precision="uint8"
    )
    assert len(config.modelfs.diffIds) == len(manifest["layers"]) >= 1
    form = "raw" if how.keys() <= {"layout", "part_bytes"} else "tar+zstd" if "compression" in how else "tar"
    for layer, diff_id in zip(manifest["layers"], config.modelfs.diffIds, strict=True):
        parsed = modelpack.parse_media_type(layer["mediaType"])
        assert parsed is not None and parsed[1] == form
        assert oci.digest_of(blobs[layer["digest"]]) == layer["digest"] and len(blobs[layer["digest"]]) == layer["size"]
        assert layer["annotations"]["org.cncf.model.filepath"]
        if form in ("raw", "tar"):
            assert diff_id == layer["digest"], "the digest before compression, of which there is none"
        else:
            assert diff_id != layer["digest"] and oci.is_digest(diff_id)
        if metadata := layer["annotations"].get("org.cncf.model.file.metadata+json"):
            found = msgspec.json.decode(metadata, type=modelpack.FileMetadata)
            assert (found.uid, found.gid, found.typeflag, found.size) == (0, 0, 48, layer["size"])
            assert found.mtime == "1970-01-01T00:00:00Z" and found.mode in (0o644, 0o755)


def test_any_client_gets_every_byte(tmp_path: Path) -> None:
    """As oras does: each layer is a file under its title."""
    model = write_model(tmp_path / "m", (3 << 20, 40, 3 << 20))
    for how in ({"layout": "whole"}, {"part_bytes": 1 << 20}):
        manifest, _, blobs = packed(model, **how)
        files = {
            layer["annotations"]["org.opencontainers.image.title"]: blobs[layer["digest"]]
            for layer in manifest["layers"]
        }
        assert len(files) == len(manifest["layers"])
        wanted = {path: content for path, (content, _) in contents(model).items()}
        parts = sorted(name for name in files if name.startswith("model.safetensors"))
        assert b"".join(files.pop(name) for name in parts) == wanted.pop("model.safetensors")
        assert (len(parts) > 1) == ("part_bytes" in how) and files == wanted


@pytest.mark.parametrize("how", [*FORMS.values(), {"form": "image"}], ids=[*FORMS.keys(), "image"])
def test_the_same_files_make_the_same_digest(tmp_path: Path, how: dict[str, object]) -> None:
    digests = set()
    for name, mtime in (("one", 0), ("two", 1_700_000_000)):
        model = write_model(tmp_path / name / "m", (300_000,))
        for path in model.rglob("*"):
            os.utime(path, (mtime, mtime))
        (model / ".cache").mkdir()
        (model / ".cache" / "lock").touch()
        digests.add(pack(Pushing(model, HERE, **how), Silent(), Cancel()).digest)  # type: ignore[arg-type]
    assert len(digests) == 1


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_an_image_is_a_plain_image(tmp_path: Path, skopeo: tuple[str, dict[str, str]], compression: str) -> None:
    """As a kubelet mounts it: the layers of the platform's image, unpacked in order with tar."""
    model = write_model(tmp_path / "m", (17 << 20, 100))
    pushed(model, tmp_path / "l", form="image", compression=compression)
    program, environment = skopeo
    for architecture in ("amd64", "arm64"):
        copied = tmp_path / architecture
        command = [program, "--insecure-policy", "--override-os", "linux", "--override-arch", architecture, "copy"]
        subprocess.run(
            [*command, f"oci:{tmp_path}/l:v1", f"dir:{copied}"], env=environment, check=True, capture_output=True,
            timeout=60,
        )  # fmt: skip
        manifest = json.loads((copied / "manifest.json").read_text())
        config = json.loads((copied / manifest["config"]["digest"][7:]).read_text())
        assert (config["os"], config["architecture"]) == ("linux", architecture)
        assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == 2
        root = tmp_path / f"{architecture}-root"
        root.mkdir()
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            assert layer["mediaType"] == oci.IMAGE_LAYER + ("+zstd" if compression == "zstd" else "")
            archive = copied / layer["digest"][7:]
            if compression == "zstd":
                import pyarrow

                plain = tmp_path / "plain.tar"
                with pyarrow.CompressedInputStream(pyarrow.OSFile(str(archive)), "zstd") as stream:
                    plain.write_bytes(stream.read())
                archive = plain
            assert oci.digest_of(archive.read_bytes()) == diff_id
            with tarfile.open(archive) as tar:
                assert {(m.uid, m.gid, m.mtime) for m in tar.getmembers()} == {(0, 0, 0)}
            subprocess.run(["tar", "-xf", archive, "-C", root], check=True, timeout=60)
        assert [path.name for path in root.iterdir()] == ["models"]
        assert contents(root / "models") == contents(model)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (1000,))
    (model / ".git").mkdir()
    (model / ".git" / "HEAD").touch()
    (tmp_path / "elsewhere").mkdir()
    (model / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "blob").write_bytes(b"as the hub's cache has it")
    (model / "linked.bin").symlink_to(tmp_path / "blob")
    os.mkfifo(model / "pipe")
    said: list[str] = []
    paths = {file.path for file in find_files(model, said.append)}
    assert "linked.bin" in paths and not paths & {"folder", "pipe", ".git/HEAD"}
    assert len(said) == 2 and "folder" in said[0] and "pipe" in said[1]
    (tmp_path / "empty").mkdir()
    for folder, words in ((tmp_path / "empty", "no files in it"), (tmp_path / "none", "no such folder or file")):
        with pytest.raises(BadArtifact, match=words):
            find_files(folder)


def test_a_file_that_changes_under_a_push_is_told(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    files = find_files(model)
    os.truncate(model / "model.safetensors", 100)
    from fairlead.serving.store.pack import pack_model

    with pytest.raises(BadArtifact, match="changed while it was read"):
        pack_model(files, layout="whole", part_bytes=None, described={}, progress=Silent(), threads=1, cancel=Cancel())


def test_the_home_of_nobody_is_told_with_a_remedy() -> None:
    with pytest.raises(BadReference, match=r"nobody here is 'no-such-user'; write \./~no-such-user/models"):
        parse_reference("~no-such-user/models:v1")


@given(st.text(max_size=60) | st.text(max_size=20).map("~{}".format))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    for prefix in ("", "oci://", "layout://", "oci://host.example/"):
        try:
            found = parse_reference(prefix + text)
        except BadReference:
            continue
        if found.host:
            assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model-00001-of-00002.safetensors", "weight"), ("a/b.gguf", "weight"), ("config.json", "weight.config"),
        ("tokenizer.model", "weight.config"), ("LICENSE", "doc"), ("README.md", "doc"), ("run.py", "code"),
        ("data/train.parquet", "dataset"), ("vocab.txt", "weight.config"), ("licence.txt", "doc"),
    ],
)  # fmt: skip
def test_kinds_by_name(path: str, kind: str) -> None:
    assert modelpack.kind_of(path) == kind


@pytest.mark.parametrize(
    ("count", "text"),
    [(7_615_616_512, "7.6B"), (8_000_000_000, "8B"), (125_000, "125K"), (70, "0.1K")],
)
def test_sizes_as_modelpack_writes_them(count: int, text: str) -> None:
    assert describe.size_text(count) == text


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (3 << 20, 3 << 20))
    raw = pack(Pushing(model, HERE, part_bytes=1 << 20), Silent(), Cancel()).manifests[-1][0]
    manifest = oci.decode_manifest(raw, "here")
    parts = [i for i, layer in enumerate(manifest.layers) if ".parts/" in layer.annotations[oci.TITLE]]
    assert plan(manifest, "here").total_bytes == sum(layer.size for layer in manifest.layers)
    for harmed in (
        [layer for i, layer in enumerate(manifest.layers) if i != parts[1]],
        [layer for i, layer in enumerate(manifest.layers) if i != parts[-1]],
        [*manifest.layers, manifest.layers[parts[0]]],
    ):
        with pytest.raises(BadArtifact, match=r"parts of 'model\.safetensors'"):
            plan(msgspec.structs.replace(manifest, layers=harmed), "here")
