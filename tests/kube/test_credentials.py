from __future__ import annotations

import datetime
import json
import ssl
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fairlead.clock import VirtualClock
from fairlead.kube.authorization import CredentialsError, FileAuthorization
from fairlead.kube.credentials import Credentials


def kubeconfig(path: Path, user: dict[str, Any], name: str = "here", **cluster: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "team"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def self_signed(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "someone")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=3650))
    certificate = builder.sign(key, hashes.SHA256())
    certificate_path, key_path = directory / "client.crt", directory / "client.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


async def test_token_and_namespace(tmp_path: Path) -> None:
    found = Credentials.load(kubeconfig(tmp_path / "config", {"token": "secret"}))
    assert found.server == "https://127.0.0.1:6443"
    assert found.namespace == "team"
    assert await found.authorization.header() == "Bearer secret"


async def test_basic_authorization(tmp_path: Path) -> None:
    found = Credentials.load(kubeconfig(tmp_path / "config", {"username": "u", "password": "p"}))
    assert await found.authorization.header() == "Basic dTpw"


def test_client_certificates_by_path_relative_to_the_file(tmp_path: Path) -> None:
    self_signed(tmp_path)
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    found = Credentials.load(kubeconfig(tmp_path / "config", user, **{"certificate-authority": "client.crt"}))
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED


def test_skipping_verification(tmp_path: Path) -> None:
    found = Credentials.load(kubeconfig(tmp_path / "config", {}, **{"insecure-skip-tls-verify": True}))
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE


async def test_several_files_merge_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kubeconfig(tmp_path / "first", {"token": "1"}, "one")
    second = kubeconfig(tmp_path / "second", {"token": "2"}, "two")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    assert await Credentials.load().authorization.header() == "Bearer 1"
    assert await Credentials.load(context="two").authorization.header() == "Bearer 2"
    with pytest.raises(CredentialsError, match=r"no context 'three' \(it has: one, two\)"):
        Credentials.load(context="three")


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a", "is not a mapping"), ("a: [", "is not YAML"), ("apiVersion: v1", "no current-context")],
)
def test_unusable_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(CredentialsError, match=message):
        Credentials.load(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="missing: No such file"):
        Credentials.load(tmp_path / "missing")


async def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = self_signed(tmp_path)
    certificate.rename(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("mounted\n")
    (tmp_path / "namespace").write_text("prod")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    found = Credentials.in_cluster(tmp_path)
    assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "prod")
    assert await found.authorization.header() == "Bearer mounted"


async def test_rotated_token_files_are_read_again(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = tmp_path / "token"
    path.write_text("old")
    authorization = FileAuthorization(path, clock)
    assert await authorization.header() == "Bearer old"
    path.write_text("new")
    assert await authorization.header() == "Bearer old"
    await clock.advance(61)
    assert await authorization.header() == "Bearer new"
    path.write_text("newer")
    assert await authorization.refused()
    assert await authorization.header() == "Bearer newer"


async def test_exec_plugin_runs_again_when_its_token_expires_or_is_refused(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    plugin = tmp_path / "plugin"
    status = {"token": "TOKEN", "expirationTimestamp": "2000-01-01T00:00:00Z"}
    answer = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})
    plugin.write_text(
        f"#!{sys.executable}\n"
        "import pathlib\n"
        f"path = pathlib.Path({str(counter)!r})\n"
        "number = int(path.read_text() if path.exists() else 0) + 1\n"
        "path.write_text(str(number))\n"
        f"print({answer!r}.replace('TOKEN', f'token-{{number}}'))\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}}
    found = Credentials.load(kubeconfig(tmp_path / "config", user))
    assert await found.authorization.header() == "Bearer token-1"
    assert await found.authorization.header() == "Bearer token-2"
    assert await found.authorization.refused()


async def test_failing_exec_plugin_says_why(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}
    found = Credentials.load(kubeconfig(tmp_path / "config", user))
    with pytest.raises(CredentialsError, match="context here: exec: process returned 1"):
        await found.authorization.header()
