"""Signatures as cosign's specification has them (specs/SIGNATURE_SPEC.md, BUNDLE_SPEC.md), checked here without our
own code for it; and a policy that refuses what is unsigned, signed by others, or changed, before a layer is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serving.store import keys, oci
from fairlead.serving.store.artifacts import Pushing, Request, open_repository, pull_model, push_model
from fairlead.serving.store.catalog import copy, inspect, list_tags, prune
from fairlead.serving.store.errors import Unsigned
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.references import Reference, parse_reference
from fairlead.serving.store.repository import Cancel, InMemory, Repository
from fairlead.serving.store.secretbox import open_box, seal
from fairlead.serving.store.sign import BUNDLE, sign, verify
from serving.store.conftest import LiveRegistry
from serving.store.models import QUICK, contents, write_model
from serving.store.proxy import proxying

pytestmark = pytest.mark.xdist_group("signatures")
P256 = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def pem(key: keys.PrivateKey) -> str:
    return keys.public_pem(key.public_key()).decode()


@pytest.fixture
def place(registry: LiveRegistry, tmp_path: Path) -> Reference:
    """A model in the registry, unsigned."""
    reference = parse_reference(f"oci://{registry.host}/signed/{tmp_path.name.lower()}:v1")
    push_model(Pushing(write_model(tmp_path / "m", (300_000,)), reference), Silent(), Cancel())
    return reference


def opened(reference: Reference) -> Repository:
    return open_repository(reference, QUICK, Cancel())


def digest_of(reference: Reference) -> str:
    return opened(reference).manifest(reference.selector)[0].digest


def pull(reference: Reference, target: Path, *public: str, mode: str = "Enforce") -> None:
    policy = Policy(public, mode)  # type: ignore[arg-type]
    pull_model(Request(reference, target, QUICK, verification=policy), Silent(), Cancel())


def test_a_signature_is_where_and_what_cosign_looks_for(place: Reference, skopeo: tuple[str, dict[str, str]]) -> None:
    digest = digest_of(place)
    sign(opened(place), digest, f"{place.host}/{place.repository}", P256, {"team": "nlp"})
    program, environment = skopeo
    tag = digest.replace(":", "-") + ".sig"
    url = f"docker://{place.host}/{place.repository}:{tag}"
    command = [program, "--insecure-policy", "inspect", "--raw", "--tls-verify=false", url]
    raw = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60).stdout
    manifest = json.loads(raw)
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json" and manifest["schemaVersion"] == 2
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    reader = opened(place).open_blob(msgspec.convert(layer, Descriptor), 0, layer["size"])
    room = bytearray(layer["size"])
    assert reader.readinto(memoryview(room)) == layer["size"]
    payload = bytes(room)
    assert "sha256:" + hashlib.sha256(payload).hexdigest() == layer["digest"]
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"], validate=True)
    P256.public_key().verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        OTHER.public_key().verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": f"{place.host}/{place.repository}"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {"team": "nlp"},
    }


def test_several_sign_and_one_twice(place: Reference) -> None:
    digest = digest_of(place)
    for key in (P256, OTHER, P256):
        sign(opened(place), digest, "x", key)
    found = inspect(opened(place), "v1")
    assert found.signatures == 2
    for i, key in enumerate((P256, OTHER)):
        assert verify(opened(place), digest, [pem(OTHER), pem(P256)]).signer is not None
        assert verify(opened(place), digest, [pem(key)]).signer == 0, i
    assert [listed.tag for listed in list_tags(opened(place), 2, Cancel())] == ["v1"], "signatures are no models"


def test_a_policy_refuses_before_a_layer_is_fetched(place: Reference, tmp_path: Path) -> None:
    with proxying(place.host) as proxy:
        through = parse_reference(str(place).replace(place.host, proxy.host))
        with pytest.raises(Unsigned, match=r"nobody has signed it; sign it \(fairlead model sign --key\)"):
            pull(through, tmp_path / "out", pem(P256))
        sign(opened(place), digest_of(place), "x", OTHER)
        with pytest.raises(Unsigned, match=r"1 signature\(s\), none of them by a trusted key"):
            pull(through, tmp_path / "out", pem(P256))
        layers = {layer.digest for layer in inspect(opened(place), "v1").manifest.layers}
        assert not [what for what in proxy.asked if any(digest in what for digest in layers)]
        assert {path.name for path in tmp_path.iterdir()} == {"m"}, "not even a folder"
        pull(through, tmp_path / "warned", pem(P256), mode="Warn")
        sign(opened(place), digest_of(place), "x", P256)
        pull(through, tmp_path / "out", pem(P256))
    assert contents(tmp_path / "out") == contents(tmp_path / "m") == contents(tmp_path / "warned")


def test_a_changed_artifact_is_not_what_was_signed(place: Reference, tmp_path: Path) -> None:
    digest = digest_of(place)
    sign(opened(place), digest, "x", P256)
    write_model(tmp_path / "m", (300_000,), seed=2)
    push_model(Pushing(tmp_path / "m", place), Silent(), Cancel())
    other = digest_of(place)
    with pytest.raises(Unsigned, match="nobody has signed it"):
        pull(place, tmp_path / "out", pem(P256))
    # The signature of the old content under the tag of the new one: it is sound, and of something else.
    repository = opened(place)
    descriptor, raw = repository.manifest(digest.replace(":", "-") + ".sig")
    repository.put_manifest(raw, descriptor.media_type, other.replace(":", "-") + ".sig")
    with pytest.raises(Unsigned, match="none of them by a trusted key"):
        pull(place, tmp_path / "out", pem(P256))
    pull(place.at(digest=digest), tmp_path / "out", pem(P256))


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer["annotations"].update({"dev.cosignproject.cosign/signature": "AAAA"}),
        lambda layer: layer["annotations"].update({"dev.cosignproject.cosign/signature": "not base64!"}),
        lambda layer: layer.pop("annotations"),
        lambda layer: layer.update({"mediaType": "text/plain"}),
        lambda layer: layer.update({"size": 5 << 20}),
        lambda layer: layer.update({"digest": "sha256:" + "0" * 64}),
    ],
    ids=["another", "no base64", "none", "no payload", "too long", "missing"],
)
def test_broken_signatures_are_passed_over(tmp_path: Path, change: object) -> None:
    at = parse_reference(f"layout://{tmp_path}/l:v1")
    push_model(Pushing(write_model(tmp_path / "m", (1000,)), at), Silent(), Cancel())
    digest = digest_of(at)
    repository = opened(at)
    sign(repository, digest, "x", OTHER)
    tag = digest.replace(":", "-") + ".sig"
    document = json.loads(repository.manifest(tag)[1])
    change(document["layers"][0])  # type: ignore[operator]
    repository.put_manifest(json.dumps(document).encode(), oci.MANIFEST, tag)
    assert verify(repository, digest, [pem(OTHER)]).signer is None
    sign(repository, digest, "x", P256)
    assert verify(repository, digest, [pem(OTHER), pem(P256)]).signer == 1


def bundle(repository: Repository, digest: str, key: ec.EllipticCurvePrivateKey, claimed: str = "") -> None:
    """A signature as newer versions of cosign keep it: an in-toto statement in a DSSE envelope that refers to it."""
    subject = repository.manifest(digest)[0]
    statement = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": (claimed or digest).removeprefix("sha256:")}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        }
    ).encode()
    kind = "application/vnd.in-toto+json"
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(statement), statement)
    envelope = {
        "payload": base64.b64encode(statement).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()}],
    }
    content = json.dumps({"mediaType": BUNDLE, "verificationMaterial": {}, "dsseEnvelope": envelope}).encode()
    layer = Descriptor(media_type=BUNDLE, digest=oci.digest_of(content), size=len(content))
    repository.put_blob(layer, InMemory(content), lambda size: None)
    repository.put_blob(oci.EMPTY_CONFIG, InMemory(b"{}"), lambda size: None)
    manifest = Manifest(
        artifact_type=BUNDLE,
        config=oci.EMPTY_CONFIG,
        layers=[layer],
        subject=Descriptor(media_type=subject.media_type, digest=digest, size=subject.size),
    )
    repository.put_manifest(oci.encode(manifest), oci.MANIFEST)


def test_bundles_that_refer_to_it_count(place: Reference, tmp_path: Path) -> None:
    digest = digest_of(place)
    bundle(opened(place), digest, OTHER, claimed="sha256:" + "0" * 64)
    assert verify(opened(place), digest, [pem(OTHER)]).signer is None, "it speaks of something else"
    bundle(opened(place), digest, P256)
    assert verify(opened(place), digest, [pem(OTHER), pem(P256)]).signer == 1
    # A copy takes both forms along.
    sign(opened(place), digest, "x", OTHER)
    layout = LayoutRepository(tmp_path / "l", create=True)
    copy(opened(place), "v1", layout, "v1", progress=Silent(), threads=2, cancel=Cancel())
    for key in (P256, OTHER):
        assert verify(layout, digest, [pem(key)]).signer == 0
    bare = LayoutRepository(tmp_path / "bare", create=True)
    copy(opened(place), "v1", bare, "v1", progress=Silent(), threads=2, cancel=Cancel(), signatures=False)
    assert verify(bare, digest, [pem(P256)]).seen == 0


def test_signatures_go_with_what_they_sign(tmp_path: Path) -> None:
    at = parse_reference(f"layout://{tmp_path}/l:v1")
    push_model(Pushing(write_model(tmp_path / "m", (1000,)), at), Silent(), Cancel())
    push_model(Pushing(write_model(tmp_path / "m", (1000,), seed=2), at.at(tag="v2")), Silent(), Cancel())
    repository = LayoutRepository(tmp_path / "l")
    old, new = (repository.manifest(tag)[0].digest for tag in ("v1", "v2"))
    for digest in (old, new):
        sign(repository, digest, "x", P256)
    done = prune(repository, keep=1, pattern="*", dry_run=False)
    assert done.removed == ("v1", old.replace(":", "-") + ".sig")
    assert verify(repository, new, [pem(P256)]).signer == 0 and verify(repository, old, [pem(P256)]).seen == 0


@pytest.mark.parametrize(
    "key",
    [
        P256,
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519", "RSA"],
)
def test_keys_of_each_kind(tmp_path: Path, key: keys.PrivateKey) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(keys.BadKey):
        keys.load_private(private, b"wrong", "key.pem")
    loaded = keys.load_private(private, b"secret", "key.pem")
    signature = keys.sign(loaded, b"message")
    public = keys.load_public(pem(key).encode(), "key.pub")
    assert keys.is_signed(public, signature, b"message") and not keys.is_signed(public, signature, b"massage")
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


def test_cosigns_own_keys_are_made_and_read(tmp_path: Path) -> None:
    private, public = keys.generate(b"secret", bytes(range(56)))
    assert private.startswith(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    key = keys.load_private(private, b"secret", "cosign.key")
    assert keys.public_pem(key.public_key()) == public
    with pytest.raises(keys.BadKey, match=r"wrong password \(COSIGN_PASSWORD\)"):
        keys.load_private(private, b"wrong", "cosign.key")


@pytest.mark.parametrize("text", [b"", b"-----BEGIN X-----\nAAAA\n-----END X-----", b"\x00\xff" * 40])
def test_what_is_no_key_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(keys.BadKey, match=r"cosign\.pub"):
        keys.load_public(text, "cosign.pub")
    with pytest.raises(keys.BadKey, match=r"cosign\.key"):
        keys.load_private(text, b"", "cosign.key")


def test_the_secret_box_is_nacls() -> None:
    """The example of Bernstein's "Cryptography in NaCl" (its sections 9 and 10), also in NaCl's tests/secretbox.c."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    message = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
        "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
        "f0a089bc76897040e082f937763848645e0705"
    )
    box = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
        "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
        "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
    )
    assert seal(message, nonce, key) == box and open_box(box, nonce, key) == message


@given(message=st.binary(max_size=300), key=st.binary(min_size=32, max_size=32), flip=st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_a_box_opens_as_it_was_closed_or_not_at_all(message: bytes, key: bytes, flip: int) -> None:
    nonce = bytes(24)
    box = seal(message, nonce, key)
    assert open_box(box, nonce, key) == message
    harmed = bytearray(box)
    harmed[flip % len(box)] ^= 1
    assert open_box(bytes(harmed), nonce, key) is None
    assert open_box(box, nonce, bytes([key[0] ^ 1]) + key[1:]) is None
