"""Google Cloud Storage's JSON API, spoken by a server of ours: pages, generations, checksums, tokens of a service
account and of the machine."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fairlead.serving.store.cache.cache import ModelCache
from fairlead.serving.store.cache.fetch import fetch_model
from fairlead.serving.store.cache.wanted import Wanted
from fairlead.serving.store.sources import BadSource, Damaged, Denied, NotThere, open_source
from fairlead.serving.store.sources.crc32c import crc32c
from fairlead.serving.store.sources.http import Patience
from serving.store.file_server import FileServer, serving

QUICK = Patience(first_wait_s=0.01, attempts=2, silence_s=1)
OBJECTS = {
    "models/m/config.json": b"{}",
    "models/m/sub/model.safetensors": b"w" * 5000,
    "models/m/sub/": b"",
    "models/m2/config.json": b"another",
}


@dataclass
class GcsServer(FileServer):
    """One bucket, `bucket`."""

    token: str = ""
    objects: dict[str, bytes] = field(default_factory=lambda: dict(OBJECTS))

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/storage/v1/b/bucket/o", self.listing),
            web.get("/storage/v1/b/bucket/o/{name}", self.media),
            web.post("/token", self.give),
            web.get("/computeMetadata/v1/instance/service-accounts/default/token", self.metadata),
        ]

    def may(self, request: web.Request) -> bool:
        return request.headers.get("Authorization", "") == (f"Bearer {self.token}" if self.token else "")

    async def listing(self, request: web.Request) -> web.Response:
        if not self.may(request):
            return web.Response(status=401, text="no")
        names = sorted(n for n in self.objects if n.startswith(request.query["prefix"]))
        start = int(request.query.get("pageToken", "0"))
        items = [self.described(n) for n in names[start : start + 2]]
        more = {"nextPageToken": str(start + 2)} if names[start + 2 :] else {}
        return web.json_response({"items": items, **more} if items else more)

    def described(self, name: str) -> dict[str, str]:
        content = self.objects[name]
        found = {"name": name, "size": str(len(content)), "generation": "7",
                 "crc32c": base64.b64encode(crc32c(content).to_bytes(4, "big")).decode()}  # fmt: skip
        # Composite objects have no MD5.
        if not name.endswith(".safetensors"):
            found["md5Hash"] = base64.b64encode(hashlib.md5(content).digest()).decode()
        return found

    async def media(self, request: web.Request) -> web.StreamResponse:
        if not self.may(request):
            return web.Response(status=403)
        assert request.query["alt"] == "media" and request.query["generation"] == "7"
        return await self._send(request, self.objects[request.match_info["name"]])

    async def give(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.headers.append({"assertion": str(form["assertion"]), "grant": str(form["grant_type"])})
        return web.json_response({"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"})

    async def metadata(self, request: web.Request) -> web.Response:
        assert request.headers["Metadata-Flavor"] == "Google"
        return web.json_response({"access_token": self.token, "expires_in": 3599})


@pytest.fixture
async def server() -> AsyncIterator[GcsServer]:
    found = GcsServer()
    async with serving(found, *found.routes()):
        yield found


async def test_a_folder_is_fetched_and_verified(server: GcsServer, tmp_path: Path) -> None:
    wanted = Wanted("gs://bucket/models/m", patience=QUICK)
    settings = {"STORAGE_EMULATOR_HOST": server.url}
    found = await fetch_model(ModelCache(tmp_path / "cache"), wanted, settings)
    names = {p.relative_to(found.path).as_posix(): p.read_bytes() for p in found.path.rglob("*") if p.is_file()}
    assert names == {"config.json": b"{}", "sub/model.safetensors": b"w" * 5000}


async def test_other_bytes_are_noticed_by_the_crc(server: GcsServer, tmp_path: Path) -> None:
    server.manners.lies = 1000
    wanted = Wanted("gs://bucket/models/m/sub/model.safetensors", patience=QUICK)
    with pytest.raises(Damaged, match="crc32c"):
        await fetch_model(ModelCache(tmp_path / "cache"), wanted, {"STORAGE_EMULATOR_HOST": server.url})


async def listed(server: GcsServer, url: str = "gs://bucket/models/m", **settings: str) -> list[str]:
    source = open_source(url, {"STORAGE_EMULATOR_HOST": server.url, **settings}, patience=QUICK)
    try:
        return [f.name for f in (await source.listing()).files]
    finally:
        await source.close()


async def test_tokens(server: GcsServer, tmp_path: Path) -> None:
    server.token = "ya29"
    with pytest.raises(Denied, match="it wants a token"):
        await listed(server)
    assert await listed(server, GOOGLE_OAUTH_ACCESS_TOKEN="ya29")
    assert await listed(server, GCE_METADATA_HOST=server.url.removeprefix("http://"))
    with pytest.raises(Denied, match="do not suffice"):
        await listed(server, GOOGLE_OAUTH_ACCESS_TOKEN="old")

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"client_email": "me@p", "private_key": private.decode(), "token_uri": f"{server.url}/token"}
    (tmp_path / "account.json").write_text(json.dumps(account))
    assert await listed(server, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "account.json"))
    given = server.headers[-1]
    head, claims, signature = given["assertion"].split(".")
    key.public_key().verify(_unpadded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    told = json.loads(_unpadded(claims))
    assert told["iss"] == "me@p" and told["aud"] == f"{server.url}/token" and told["exp"] - told["iat"] == 3600
    assert parse_qs(f"g={given['grant']}")["g"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    with pytest.raises(BadSource, match="key file cannot be used"):
        await listed(server, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))


async def test_nothing_there(server: GcsServer) -> None:
    with pytest.raises(NotThere, match="no object"):
        await listed(server, "gs://bucket/models/none")
    with pytest.raises(BadSource, match="is no bucket"):
        await listed(server, "gs://A/x")


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
