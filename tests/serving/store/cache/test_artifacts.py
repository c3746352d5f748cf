"""OCI artifacts in the node's cache: in each form that is pushed, version by version, signed as the policy asks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fairlead.serving.store.artifacts import Pushing, push_artifact
from fairlead.serving.store.cache.cache import Full, ModelCache
from fairlead.serving.store.cache.fetch import fetch_model
from fairlead.serving.store.cache.integrity import check
from fairlead.serving.store.cache.wanted import Fetched, Wanted
from fairlead.serving.store.errors import NotFound, StoreError, Unsigned
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.references import parse_reference
from serving.store.cache.models import model


async def pushed(source: str, target: str, **how: object) -> str:
    return (await push_artifact(Pushing(Path(source), parse_reference(target), **how))).digest  # type: ignore[arg-type]


async def fetch(cache: ModelCache, url: str, **wanted: object) -> Fetched:
    return await fetch_model(cache, Wanted(url, **wanted), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "how", [{}, {"layout": "whole"}, {"tar": True}, {"form": "image"}, {"form": "image", "compression": "zstd"}]
)
async def test_an_artifact_becomes_a_model(tmp_path: Path, how: dict[str, object]) -> None:
    source, target = model(tmp_path / "m", 300_000), f"layout://{tmp_path}/layout:v1"
    digest = await pushed(source, target, **how)
    cache = ModelCache(tmp_path / "cache")
    found = await fetch(cache, target, uid="pod-1")
    assert not found.was_here and found.record.digest == digest
    assert found.path == cache.places.pods / "pod-1" / "model"
    for name in ("config.json", "model.safetensors"):
        assert (found.path / name).read_bytes() == (Path(source) / name).read_bytes()
    assert [v.problem for v in check(cache)] == [""]
    assert list(cache.places.partials.iterdir()) == []
    again = await fetch(cache, target)
    assert again.was_here
    by_digest = await fetch(cache, f"{target.removesuffix(':v1')}@{digest}")
    assert by_digest.was_here
    shutil.rmtree(tmp_path / "layout")
    with pytest.raises(StoreError):
        await fetch(cache, f"layout://{tmp_path}/layout:v2")


async def test_a_tag_that_moves_is_another_model(tmp_path: Path) -> None:
    target = f"layout://{tmp_path}/layout:v1"
    cache = ModelCache(tmp_path / "cache")
    await pushed(model(tmp_path / "m", word="a"), target)
    first = await fetch(cache, target)
    await pushed(model(tmp_path / "m", word="b"), target)
    second = await fetch(cache, target)
    assert first.record.digest != second.record.digest and len(cache.models()) == 2
    assert (first.path / "model.safetensors").read_bytes()[:1] == b"a", "the older one is as it was"


async def test_what_does_not_fit_is_refused_before_it_is_pulled(tmp_path: Path) -> None:
    target = f"layout://{tmp_path}/layout:v1"
    await pushed(model(tmp_path / "m", 500_000), target)
    cache = ModelCache(tmp_path / "cache", 300_000)
    with pytest.raises(Full, match="the whole cache may hold"):
        await fetch(cache, target)
    assert cache.models() == []


def key_pair(tmp_path: Path) -> tuple[Path, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / f"key-{len(list(tmp_path.iterdir()))}.pem"
    path.write_bytes(private)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return path, public.decode()


async def test_nothing_unsigned_is_fetched_where_a_signature_is_asked(tmp_path: Path) -> None:
    target = f"layout://{tmp_path}/layout:v1"
    await pushed(model(tmp_path / "m"), target)
    _, public = key_pair(tmp_path)
    cache = ModelCache(tmp_path / "cache")
    with pytest.raises(Unsigned):
        await fetch(cache, target, verification=Policy((public,)))
    assert cache.models() == []
    warned = await fetch(cache, target, verification=Policy((public,), "Warn"))
    assert "nobody has signed it" in warned.warnings[0]
    with pytest.raises(Unsigned):
        await fetch(cache, target, verification=Policy((public,)))


async def test_no_artifact_no_model(tmp_path: Path) -> None:
    await pushed(model(tmp_path / "m"), f"layout://{tmp_path}/layout:v1")
    with pytest.raises(NotFound):
        await fetch(ModelCache(tmp_path / "cache"), f"layout://{tmp_path}/layout:v9")
