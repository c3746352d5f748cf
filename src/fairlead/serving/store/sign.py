"""Signatures of artifacts as cosign makes them, so that either can check what the other signed.

Two forms. The older (cosign's SIGNATURE_SPEC.md): a manifest under the tag `sha256-<hex>.sig`, a layer per signature
with a simple-signing payload and the signature in an annotation; this one is written here. The newer (BUNDLE_SPEC.md):
manifests that refer to the artifact, each with a Sigstore bundle; those are read as well, by key and without a
transparency log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.serving.store import keys, oci
from fairlead.serving.store.errors import BadArtifact, NotFound, StoreError, Unsigned
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.repository import InMemory, Repository

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLES = "application/vnd.dev.sigstore.bundle"
_TYPE = "cosign container image signature"
_IN_TOTO = "application/vnd.in-toto+json"
_PAYLOAD_LIMIT_BYTES = 4 << 20
_MOST_SIGNATURES = 200


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature that was found: over which bytes, of which digest, and in which form."""

    signature: bytes
    message: bytes
    digest: str
    form: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`signer`: number of the first key that fits, None if none does. `seen`: signatures that were looked at."""

    signer: int | None
    seen: int
    reason: str


def signature_tag(digest: str) -> str:
    """Where cosign keeps the signatures of a digest."""
    return digest.replace(":", "-") + ".sig"


def payload(reference: str, digest: str, claims: dict[str, str]) -> bytes:
    """The bytes that are signed (containers-signature(5), "JSON data format"). The same input, the same bytes."""
    document = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": _TYPE,
        },
        "optional": claims or None,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def sign(
    repository: Repository, digest: str, reference: str, key: keys.PrivateKey, claims: dict[str, str] | None = None
) -> Descriptor:
    """Add a signature of this manifest to those it has. The descriptor of the signatures' manifest."""
    message = payload(reference, digest, claims or {})
    layer = Descriptor(
        media_type=SIMPLE_SIGNING,
        digest=oci.digest_of(message),
        size=len(message),
        annotations={SIGNATURE: base64.b64encode(keys.sign(key, message)).decode()},
    )
    others = [d for d in _signatures(repository, digest) if not _is_by(d, message, key)]
    layers = [*others, layer]
    config = msgspec.json.encode(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [each.digest for each in layers]},
        }
    )
    config_at = Descriptor(media_type=oci.IMAGE_CONFIG, digest=oci.digest_of(config), size=len(config))
    for descriptor, content in ((layer, message), (config_at, config)):
        if not repository.has_blob(descriptor):
            repository.put_blob(descriptor, InMemory(content), lambda size: None)
    manifest = oci.encode(Manifest(config=config_at, layers=layers))
    return repository.put_manifest(manifest, oci.MANIFEST, signature_tag(digest))


def enforce(repository: Repository, digest: str, policy: Policy) -> str:
    """Check a policy; a warning where nobody signed and it only warns, else empty. Raises Unsigned, or BadKey."""
    try:
        verdict = verify(repository, digest, policy.public_keys)
    except StoreError as error:
        if policy.mode == "Enforce" or isinstance(error, keys.BadKey):
            raise
        verdict = Verdict(None, 0, str(error))
    if verdict.signer is not None:
        return ""
    said = f"{repository.name}@{digest}: {verdict.reason}"
    if policy.mode == "Enforce":
        raise Unsigned(f"{said}; sign it (fairlead model sign --key), or trust the key that did")
    return said


def verify(repository: Repository, digest: str, public_keys: Sequence[str]) -> Verdict:
    """Whether one of these keys has signed the manifest. Signatures that are broken or of others are passed over."""
    if not public_keys:
        raise keys.BadKey("no public key is given: nobody's signature would be enough")
    trusted = [keys.load_public(pem.encode(), f"public key {i + 1}") for i, pem in enumerate(public_keys)]
    seen = 0
    for claim in _claims(repository, digest):
        seen += 1
        for i, key in enumerate(trusted):
            if keys.is_signed(key, claim.signature, claim.message) and claim.digest == digest:
                return Verdict(i, seen, f"signed ({claim.form})")
    if not seen:
        return Verdict(None, 0, "nobody has signed it")
    return Verdict(None, seen, f"{seen} signature(s), none of them by a trusted key")


def _claims(repository: Repository, digest: str) -> Iterator[Claim]:
    count = 0
    for layer in _signatures(repository, digest):
        count += 1
        if count > _MOST_SIGNATURES:
            return
        claim = _simple(repository, layer)
        if claim is not None:
            yield claim
    for entry in repository.referrers(digest):
        if (entry.artifact_type or "").startswith(BUNDLES) and count < _MOST_SIGNATURES:
            count += 1
            claim = _bundled(repository, entry)
            if claim is not None:
                yield claim


def _signatures(repository: Repository, digest: str) -> list[Descriptor]:
    try:
        raw = repository.manifest(signature_tag(digest))[1]
    except NotFound:
        return []
    manifest = oci.decode_manifest(raw, f"{repository.name}: signatures of {digest}")
    return [d for d in manifest.layers if d.media_type == SIMPLE_SIGNING]


def _is_by(layer: Descriptor, message: bytes, key: keys.PrivateKey) -> bool:
    """Whether a signature says the same by the same key: then a new one takes its place."""
    signature = _decode(layer.annotations.get(SIGNATURE, ""))
    same = layer.digest == oci.digest_of(message)
    return same and signature is not None and keys.is_signed(key.public_key(), signature, message)


def _simple(repository: Repository, layer: Descriptor) -> Claim | None:
    signature = _decode(layer.annotations.get(SIGNATURE, ""))
    message = read_blob(repository, layer)
    if signature is None or message is None:
        return None
    try:
        critical = json.loads(message)["critical"]
        if critical["type"] != _TYPE:
            return None
        image = critical["image"]
        # The specification's example has a capital D, cosign itself writes a small one.
        claimed = image.get("docker-manifest-digest") or image.get("Docker-manifest-digest")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return Claim(signature, message, str(claimed), "simple signing")


def _bundled(repository: Repository, entry: Descriptor) -> Claim | None:
    """What a Sigstore bundle claims (sigstore_bundle.proto): an in-toto statement in DSSE, or a plain signature."""
    try:
        manifest = oci.decode_manifest(repository.manifest(entry.digest)[1], entry.digest)
        raw = read_blob(repository, manifest.layers[0]) if manifest.layers else None
        bundle: dict[str, Any] = json.loads(raw or b"")
        if "dsseEnvelope" in bundle:
            return _dsse(bundle["dsseEnvelope"])
        # A plain signature in a bundle is over the bytes of the artifact's manifest.
        subject = manifest.subject.digest if manifest.subject else ""
        signature = base64.b64decode(bundle["messageSignature"]["signature"])
        return Claim(signature, repository.manifest(subject)[1], subject, "bundle")
    except (ValueError, LookupError, TypeError, BadArtifact, NotFound):
        return None


def _dsse(envelope: dict[str, Any]) -> Claim | None:
    content = base64.b64decode(envelope["payload"])
    kind = str(envelope["payloadType"])
    if kind != _IN_TOTO:
        return None
    subjects = json.loads(content)["subject"]
    digest = "sha256:" + str(subjects[0]["digest"]["sha256"])
    # DSSE, "Signature Definition": what is signed is the type and the content, each with its length before it.
    message = b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(content), content)
    return Claim(base64.b64decode(envelope["signatures"][0]["sig"]), message, digest, "bundle")


def read_blob(repository: Repository, descriptor: Descriptor) -> bytes | None:
    """A small blob, verified; None if it is missing, too long, or not what its digest says."""
    if descriptor.size > _PAYLOAD_LIMIT_BYTES:
        return None
    room = memoryview(bytearray(max(1, descriptor.size)))
    at = 0
    try:
        reader = repository.open_blob(descriptor, 0, descriptor.size)
    except NotFound:
        return None
    try:
        while at < descriptor.size and (count := reader.readinto(room[at : descriptor.size])):
            at += count
    finally:
        reader.close()
    content = bytes(room[:at])
    return content if f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor.digest else None


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None
