"""docker-registry with a token server (distribution's docs/spec/auth/token.md and jwt.md): tokens are asked for with
the login, for what is done and no more, again when they end, and never sent elsewhere."""

from __future__ import annotations

import base64
import datetime
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from fairlead.serving.store.artifacts import Pushing, Request, pull_model, push_model
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import Denied, StoreError
from fairlead.serving.store.logins import Login, Logins
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel
from serving.store.conftest import start_registry, stop
from serving.store.models import QUICK, contents, write_model
from serving.store.proxy import Fault, proxying

pytestmark = pytest.mark.xdist_group("docker-registry")
ME = Login("me", "secret")


@dataclass
class TokenServer:
    """Gives tokens for what is asked: everything to ME, pulls of `public/…` to anybody."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    url: str = ""
    asked: list[list[str]] = field(default_factory=list)
    """The scopes of each request."""

    def token(self, login: str, scopes: list[str]) -> str | None:
        self.asked.append(scopes)
        if login not in ("", ME.basic):
            return None
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = actions.split(",") if login else ["pull"] if name.startswith("public/") else []
            access.append({"type": kind, "name": name, "actions": granted})
        # The clock of the registry counts: a minute either way, as real servers allow.
        now_s = int(time.time())
        claims = {"iss": "tests", "sub": "", "aud": "registry", "exp": now_s + 60, "nbf": now_s - 60, "iat": now_s}
        chain = [base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()]
        head = {"typ": "JWT", "alg": "ES256", "x5c": chain}
        signed = f"{_text(head)}.{_text({**claims, 'jti': str(len(self.asked)), 'access': access})}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _text(document: Any) -> str:
    return _url64(json.dumps(document).encode())


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    found = TokenServer(key, certificate)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            token = found.token(self.headers.get("Authorization", ""), scopes)
            body = json.dumps({"token": token} if token else {}).encode()
            self.send_response(200 if token else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/token"
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def host(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "bundle.pem").write_bytes(tokens.certificate.public_bytes(serialization.Encoding.PEM))
    how = f"realm: {tokens.url}, service: registry, issuer: tests, rootcertbundle: {folder}/bundle.pem"
    live, process = start_registry(folder / "r", f"auth: {{token: {{{how}}}}}\n")
    yield live.host
    stop(process)


def settings(login: Login | None) -> Settings:
    return replace(QUICK, silence_s=20.0, logins=Logins(fixed=login))


def test_tokens_are_got_with_the_login_and_for_what_is_done(host: str, tokens: TokenServer, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (2_000_000,))
    private, public = (parse_reference(f"oci://{host}/{name}/m:v1") for name in ("private", "public"))
    for reference in (private, public):
        push_model(Pushing(model, reference, settings(ME)), Silent(), Cancel())
    tokens.asked.clear()
    pull_model(Request(private, tmp_path / "mine", settings(ME)), Silent(), Cancel())
    assert {scope for scopes in tokens.asked for scope in scopes} == {"repository:private/m:pull"}
    pull_model(Request(public, tmp_path / "anybody", settings(None)), Silent(), Cancel())
    assert contents(tmp_path / "anybody") == contents(tmp_path / "mine") == contents(model)
    with pytest.raises(Denied, match="docker login"):
        pull_model(Request(private, tmp_path / "out", settings(None)), Silent(), Cancel())
    with pytest.raises(Denied, match="refuses the login of me to private/m"):
        pull_model(Request(private, tmp_path / "out", settings(Login("me", "wrong"))), Silent(), Cancel())
    with pytest.raises(Denied, match="docker login"):
        push_model(Pushing(model, public, settings(None)), Silent(), Cancel())


def test_a_mount_asks_for_both_repositories(host: str, tokens: TokenServer, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (3_000_000,), seed=2)
    first, second = (parse_reference(f"oci://{host}/mount/{name}:v1") for name in "ab")
    push_model(Pushing(model, first, settings(ME)), Silent(), Cancel())
    tokens.asked.clear()
    pushed = push_model(Pushing(model, second, settings(ME), mount_from="mount/a"), Silent(), Cancel())
    assert ["repository:mount/b:pull,push", "repository:mount/a:pull"] in [sorted(s)[::-1] for s in tokens.asked]
    assert pushed.sent_bytes == 0


def test_a_token_that_ends_is_asked_for_again(host: str, tokens: TokenServer, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (3_000_000,), seed=3)
    name = "ended/m:v1"
    push_model(Pushing(model, parse_reference(f"oci://{host}/{name}"), settings(ME)), Silent(), Cancel())
    challenge = f'Bearer realm="{tokens.url}",service="registry",scope="repository:ended/m:pull"'
    ended = Fault("GET .*/blobs/", times=1, status=401, headers={"WWW-Authenticate": challenge})
    with proxying(host, ended) as proxy:
        pull_model(Request(parse_reference(f"oci://{proxy.host}/{name}"), tmp_path / "out", settings(ME)),
                   Silent(), Cancel())  # fmt: skip
        assert ended.times == 0
    assert contents(tmp_path / "out") == contents(model)


def test_what_a_registry_redirects_to_learns_no_token(host: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (3_000_000,), seed=4)
    name = "away/m:v1"
    push_model(Pushing(model, parse_reference(f"oci://{host}/{name}"), settings(ME)), Silent(), Cancel())
    with proxying(host) as store:
        away = Fault("GET .*/blobs/", times=100, status=307, headers={"Location": f"http://{store.host}/v2/x"})
        with proxying(host, away) as proxy, pytest.raises(StoreError):
            pull_model(Request(parse_reference(f"oci://{proxy.host}/{name}"), tmp_path / "out", settings(ME)),
                       Silent(), Cancel())  # fmt: skip
        assert store.count("GET /v2/x") > 0 and set(store.authorizations) == {""}
