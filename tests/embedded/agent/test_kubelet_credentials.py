"""Who may call the kubelet API: the shared token, or a client certificate of the given CA; nobody else."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead.embedded.agent.credentials import KubeletCredentials, client_context


def write_authority(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate that serves as CA and client certificate at once, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(pem)
    return folder / f"{name}.crt", folder / f"{name}.key"


async def call(credentials: KubeletCredentials, context: ssl.SSLContext, authorization: str = "") -> int:
    async def answer(request: web.Request) -> web.Response:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        allowed = credentials.accepts(request.headers.get("Authorization", ""), certificate)
        return web.Response(status=200 if allowed else 401)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=credentials.tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        headers = {"Authorization": authorization} if authorization else {}
        url = f"https://127.0.0.1:{port}/"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, ssl=context, headers=headers) as response,
        ):
            return response.status
    finally:
        await runner.cleanup()


async def test_the_shared_token_lets_in_and_nothing_else(tmp_path: Path):
    credentials = KubeletCredentials.prepare(tmp_path)
    context = client_context(tmp_path)
    assert await call(credentials, context, f"Bearer {credentials.token}") == 200
    assert await call(credentials, context, "Bearer wrong") == 401
    assert await call(credentials, context) == 401
    assert KubeletCredentials.prepare(tmp_path).token == credentials.token
    assert (tmp_path / "token").stat().st_mode & 0o077 == 0


async def test_a_client_certificate_of_the_ca_lets_in(tmp_path: Path):
    authority, key = write_authority(tmp_path, "apiserver")
    credentials = KubeletCredentials.prepare(tmp_path / "kubelet", authority)
    context = client_context(tmp_path / "kubelet")
    assert await call(credentials, context) == 401
    context.load_cert_chain(authority, key)
    assert await call(credentials, context) == 200


async def test_a_certificate_of_another_ca_does_not(tmp_path: Path):
    authority, _ = write_authority(tmp_path, "apiserver")
    credentials = KubeletCredentials.prepare(tmp_path / "kubelet", authority)
    context = client_context(tmp_path / "kubelet")
    context.load_cert_chain(*write_authority(tmp_path, "stranger"))
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, OSError)):
        await call(credentials, context)
