"""How the API server and the kubelet API trust each other.

Files in one folder that both sides read: `token` (what callers show), `tls.crt` and `tls.key` (a self-signed serving
certificate, which callers pin). A real API server shows a client certificate instead, checked against its CA.
"""

from __future__ import annotations

import datetime
import hmac
import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.clock import SYSTEM, Clock

_VALID_DAYS = 3650


@dataclass(frozen=True, slots=True)
class KubeletCredentials:
    token: str
    tls: ssl.SSLContext
    anonymous: bool = False
    """Whether callers need not show anything, as a kubelet's `--anonymous-auth`."""

    @staticmethod
    def prepare(
        folder: Path, client_ca: Path | None = None, clock: Clock = SYSTEM, *, anonymous: bool = False
    ) -> KubeletCredentials:
        """Read the folder, making what is missing. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "tls.crt").exists():
            _make_certificate(folder, clock)
        if not (folder / "token").exists():
            _write(folder / "token", secrets.token_urlsafe(32).encode())
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        if client_ca is not None:
            tls.load_verify_locations(client_ca)
            tls.verify_mode = ssl.CERT_OPTIONAL
        return KubeletCredentials((folder / "token").read_text().strip(), tls, anonymous)

    def accepts(self, authorization: str, peer_certificate: object) -> bool:
        """Whether a caller may use the API: by bearer token, or by a certificate that TLS has verified."""
        if peer_certificate or self.anonymous:
            return True
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode())


def client_context(folder: Path) -> ssl.SSLContext:
    """For callers: trust the folder's certificate and nothing else. Raises OSError where there is none yet."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(folder / "tls.crt"))
    # The certificate itself is pinned; node addresses come and go.
    context.check_hostname = False
    return context


def _make_certificate(folder: Path, clock: Clock) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairlead-agent")])
    now = datetime.datetime.fromtimestamp(clock.wall_s(), datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(folder / "tls.key", pem)
    _write(folder / "tls.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    os.replace(temporary, path)
