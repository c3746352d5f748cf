"""Keys for signatures: PEM, plain or as cosign encrypts them; signing and checking with them.

Supported: ECDSA P-256 with SHA-256 (what cosign makes and its specification demands), P-384 with SHA-384, P-521 with
SHA-512, RSA PKCS #1 v1.5 with SHA-256, Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from fairlead.serving.store.errors import StoreError
from fairlead.serving.store.secretbox import open_box, seal

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_ENCRYPTED = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_SCRYPT = {"N": 65536, "r": 8, "p": 1}
_SCRYPT_LIMIT_BYTES = 256 << 20


class BadKey(StoreError):
    """A key that cannot be read or used."""


def load_private(pem: bytes, password: bytes, where: str) -> PrivateKey:
    """A private key from PEM. Raises BadKey: not a key, another kind, wrong password."""
    label, raw = _pem(pem, where)
    try:
        if label in _ENCRYPTED:
            key = serialization.load_der_private_key(_decrypt(raw, password, where), None)
        else:
            encrypted = "ENCRYPTED" in label or b"Proc-Type: 4,ENCRYPTED" in pem
            key = serialization.load_pem_private_key(pem, password if encrypted else None)
    except (ValueError, TypeError) as error:
        raise BadKey(f"{where}: no usable private key: {error}") from error
    if not isinstance(key, PrivateKey):
        raise BadKey(f"{where}: a {type(key).__name__} cannot sign; use ECDSA P-256 (fairlead model keygen)")
    return key


def load_public(pem: bytes, where: str) -> PublicKey:
    """A public key from PEM. Raises BadKey."""
    _pem(pem, where)
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise BadKey(f"{where}: no usable public key: {error}") from error
    if not isinstance(key, PublicKey):
        raise BadKey(f"{where}: a {type(key).__name__} cannot check signatures")
    return key


def generate(password: bytes, random: bytes) -> tuple[bytes, bytes]:
    """A new P-256 pair as PEM: the private key encrypted as cosign does, the public one.

    `random`: 56 fresh random bytes for salt and nonce. An empty password is one too, as it is for cosign.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    salt, nonce = random[:32], random[32:56]
    box = seal(der, nonce, _derive(password, salt, _SCRYPT))
    document = {
        "kdf": {"name": "scrypt", "params": _SCRYPT, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(box).decode(),
    }
    body = base64.encodebytes(json.dumps(document).encode()).decode().replace("\n", "")
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    private = f"-----BEGIN {_ENCRYPTED[0]}-----\n{lines}\n-----END {_ENCRYPTED[0]}-----\n".encode()
    return private, public_pem(key.public_key())


def public_pem(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(key: PrivateKey, message: bytes) -> bytes:
    """The signature of a message."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(_hash(key.curve)))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message)


def is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether this signature of the message was made with the key's other half."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(_hash(key.curve)))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    return {384: hashes.SHA384(), 521: hashes.SHA512()}.get(curve.key_size, hashes.SHA256())


def _pem(pem: bytes, where: str) -> tuple[str, bytes]:
    lines = [line.strip() for line in pem.decode("ascii", "replace").strip().splitlines()]
    begin = next((i for i, line in enumerate(lines) if line.startswith("-----BEGIN ")), None)
    if begin is None:
        raise BadKey(f"{where}: not a key in PEM (no line -----BEGIN …-----)")
    label = lines[begin].removeprefix("-----BEGIN ").removesuffix("-----")
    body = "".join(line for line in lines[begin + 1 :] if not line.startswith("-----") and ":" not in line)
    try:
        return label, base64.b64decode(body)
    except binascii.Error as error:
        raise BadKey(f"{where}: damaged PEM: {error}") from error


def _decrypt(raw: bytes, password: bytes, where: str) -> bytes:
    try:
        document: dict[str, Any] = json.loads(raw)
        kdf, cipher = document["kdf"], document["cipher"]
        if kdf["name"] != "scrypt" or cipher["name"] != "nacl/secretbox":
            raise BadKey(
                f"{where}: encrypted with {kdf['name']} and {cipher['name']}; scrypt and nacl/secretbox are known"
            )
        salt, nonce = base64.b64decode(kdf["salt"]), base64.b64decode(cipher["nonce"])
        box = base64.b64decode(document["ciphertext"])
        parameters = {name: int(kdf["params"][name]) for name in ("N", "r", "p")}
    except (ValueError, LookupError, TypeError) as error:
        raise BadKey(f"{where}: a damaged cosign key: {error}") from error
    opened = open_box(box, nonce, _derive(password, salt, parameters))
    if opened is None:
        raise BadKey(f"{where}: wrong password (COSIGN_PASSWORD)")
    return opened


def _derive(password: bytes, salt: bytes, parameters: dict[str, int]) -> bytes:
    try:
        return hashlib.scrypt(
            password,
            salt=salt,
            n=parameters["N"],
            r=parameters["r"],
            p=parameters["p"],
            maxmem=_SCRYPT_LIMIT_BYTES,
            dklen=32,
        )
    except ValueError as error:
        raise BadKey(f"scrypt with {parameters}: {error}") from error
