"""TLS of gRPC servers: a self-signed certificate that lives in memory, or files that are read again when they change.

Envoy does not verify the picker's certificate unless told to, so the self-signed one gives secrecy and no identity.
Files are what cert-manager or a mounted Secret keeps up to date: new connections get the new certificate, old ones go
on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead.clock import SYSTEM, Clock

log = logging.getLogger(__name__)

_RELOAD_S = 5.0
_VALID_DAYS = 3650


class ServerTls:
    """A TLS context for HTTP/2 (ALPN h2, TLS 1.2 or later). Make one with `self_signed` or `from_files`."""

    def __init__(self, certificate: bytes, key: bytes, files: tuple[Path, Path] | None, client_ca: Path | None) -> None:
        self.certificate = certificate
        """PEM, for the reference server and for clients that want to verify it."""
        self.key = key
        """PEM."""
        self.client_ca = client_ca.read_bytes() if client_ca else None
        """PEM of those whose client certificates are asked for and accepted; None asks for none."""
        self._files = files
        self.context = self._new_context()

    @classmethod
    def self_signed(cls, names: tuple[str, ...] = ("localhost", "127.0.0.1"), clock: Clock = SYSTEM) -> ServerTls:
        """A fresh key and certificate for host names and IP addresses, valid for ten years."""
        certificate, key = self_signed_certificate(names, clock.wall_s())
        return cls(certificate, key, None, None)

    @classmethod
    def from_files(cls, certificate: Path, key: Path, client_ca: Path | None = None) -> ServerTls:
        """PEM files; with `client_ca`, clients must have a certificate of it. Raises OSError when one cannot be read
        and ssl.SSLError when certificate and key do not belong together."""
        return cls(certificate.read_bytes(), key.read_bytes(), (certificate, key), client_ca)

    def reload(self) -> bool:
        """Read the files again; True when there is a new certificate. A pair that does not fit, as between two writes,
        raises ssl.SSLError and changes nothing."""
        if self._files is None:
            return False
        certificate, key = (path.read_bytes() for path in self._files)
        if (certificate, key) == (self.certificate, self.key):
            return False
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
        _load(self.context, certificate, key)
        self.certificate, self.key = certificate, key
        return True

    async def reload_forever(self, clock: Clock = SYSTEM) -> None:
        """Look at the files every few seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        complained = False
        while self._files is not None:
            await clock.sleep(_RELOAD_S)
            try:
                if await loop.run_in_executor(None, self.reload):
                    log.info("TLS certificate %s was read again", self._files[0])
                complained = False
            except (OSError, ValueError) as error:
                if not complained:
                    log.warning("TLS certificate %s cannot be read again: %s", self._files[0], error)
                complained = True

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # RFC 9113 section 9.2: no compression, no renegotiation, of TLS 1.2 only suites with forward secrecy and AEAD.
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.set_alpn_protocols(["h2"])
        _load(context, self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(cadata=self.client_ca.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def self_signed_certificate(names: tuple[str, ...], now_s: float) -> tuple[bytes, bytes]:
    """Certificate and key (P-256), both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairlead-picker")])
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with _as_file(certificate + b"\n" + key) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path under which the content can be read: in memory where the system can, else a private file for a moment."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fairlead-tls")
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
