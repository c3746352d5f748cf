"""Keys and tokens of one data folder: a certificate authority, the server's certificate, and the admin's token.

Made once and kept in `pki/` (mode 0700), so that a kubeconfig written earlier stays good. `kubeconfig` ties them
together for clients, mode 0600.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import os
import secrets
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.clock import Clock

CA_DAYS = 3650
SERVER_DAYS = 365
RENEW_DAYS = 30
ADMIN = "system:admin"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server needs to be trusted and to recognise its admin. `signing_key` signs service account tokens."""

    ca: bytes
    certificate: Path
    key: Path
    token: str
    signing_key: bytes

    def is_admin(self, token: str) -> bool:
        return hmac.compare_digest(self.token.encode(), token.encode())

    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


def load_or_create(folder: Path, host: str, clock: Clock) -> Credentials:
    """The credentials of a data folder; whatever is missing or about to expire is made."""
    pki = folder / "pki"
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.fromtimestamp(clock.wall_s(), UTC)
    ca_key_path, ca_path = pki / "ca.key", pki / "ca.crt"
    if not (ca_key_path.exists() and ca_path.exists()):
        _create_ca(ca_key_path, ca_path, now)
        (pki / "server.crt").unlink(missing_ok=True)
    if not _is_good(pki / "server.crt", host, now):
        _create_server(pki, ca_key_path, ca_path, host, now)
    return Credentials(
        ca=ca_path.read_bytes(),
        certificate=pki / "server.crt",
        key=pki / "server.key",
        token=_secret(pki / "token").decode(),
        signing_key=_secret(pki / "service-account.key"),
    )


def write_kubeconfig(path: Path, credentials: Credentials, url: str) -> None:
    """Write a kubeconfig for the admin, replacing an older one in one step."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "fairlead",
                "cluster": {
                    "server": url,
                    "certificate-authority-data": base64.b64encode(credentials.ca).decode(),
                },
            }
        ],
        "users": [{"name": "fairlead", "user": {"token": credentials.token}}],
        "contexts": [{"name": "fairlead", "context": {"cluster": "fairlead", "user": "fairlead"}}],
        "current-context": "fairlead",
    }
    _write_private(path, yaml.safe_dump(document, sort_keys=False).encode())


def _secret(path: Path) -> bytes:
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(32).encode())
    return path.read_bytes()


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _create_ca(key_path: Path, path: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairlead-ca")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    _write_private(key_path, _pem(key))
    _write_private(path, certificate.public_bytes(serialization.Encoding.PEM))


def _is_good(path: Path, host: str, now: datetime) -> bool:
    if not path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if certificate.not_valid_after_utc < now + timedelta(days=RENEW_DAYS):
        return False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return any(str(name.value) == host for name in names)


def _create_server(pki: Path, ca_key_path: Path, ca_path: Path, host: str, now: datetime) -> None:
    ca_key = serialization.load_pem_private_key(ca_key_path.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    ca = x509.load_pem_x509_certificate(ca_path.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("kubernetes.default.svc")]
    for address in dict.fromkeys(("127.0.0.1", host)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairlead-apiserver")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=SERVER_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write_private(pki / "server.key", _pem(key))
    _write_private(pki / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))
