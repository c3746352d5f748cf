"""S3's protocol, spoken by a server of ours that checks signatures anew: listings page by page, both styles of URL,
ETags of parts, temporary keys, and the answers that are refusals."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from fairlead.clock import VirtualClock
from fairlead.serving.store.cache.cache import ModelCache
from fairlead.serving.store.cache.fetch import fetch_model
from fairlead.serving.store.cache.wanted import Wanted
from fairlead.serving.store.sources import BadSource, Denied, NotThere, open_source
from fairlead.serving.store.sources.http import Patience
from fairlead.serving.store.sources.sigv4 import Keys, sign
from serving.store.file_server import FileServer, serving

KEYS = Keys("AKID", "secret")
QUICK = Patience(first_wait_s=0.01, attempts=2, silence_s=1)
PART = 1000
WEIGHTS = b"w" * 2500
OBJECTS = {
    "models/m/config.json": b"{}",
    "models/m/model.safetensors": WEIGHTS,
    "models/m/sub dir/tok+en é.json": b"[]",
    "models/m/": b"",
    "models/m-2/config.json": b"another",
}


@dataclass
class S3Server(FileServer):
    """One bucket, `bucket`, below its name in the path. Large objects were uploaded in parts."""

    keys: Keys | None = None
    objects: dict[str, bytes] = field(default_factory=lambda: dict(OBJECTS))
    encrypted: bool = False

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/bucket/{key:.*}", self.get)]

    def is_signed(self, request: web.Request) -> bool:
        """Checked from the specification, not by the code under test."""
        if self.keys is None:
            return "Authorization" not in request.headers
        given = request.headers.get("Authorization", "")
        if (
            not given.startswith("AWS4-HMAC-SHA256 ")
            or request.headers.get("x-amz-security-token", "") != self.keys.token
        ):
            return False
        parts = dict(p.split("=", 1) for p in given.removeprefix("AWS4-HMAC-SHA256 ").split(", "))
        names = parts["SignedHeaders"].split(";")
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            return False
        path, _, query = request.raw_path.partition("?")
        text = "\n".join(
            [request.method, path, "&".join(sorted(query.split("&"))) if query else "",
             *(f"{n}:{request.headers[n]}" for n in names), "", ";".join(names),
             request.headers["x-amz-content-sha256"]]
        )  # fmt: skip
        date, region, service, last = parts["Credential"].split("/")[1:]
        to_sign = "\n".join(
            ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], f"{date}/{region}/{service}/{last}",
             hashlib.sha256(text.encode()).hexdigest()]
        )  # fmt: skip
        key = ("AWS4" + self.keys.secret_key).encode()
        for word in (date, region, service, last):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest() == parts["Signature"]

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if not self.is_signed(request):
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        key = request.match_info["key"]
        if not key:
            return self.list(request)
        content = self.objects.get(key)
        if content is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        wanted = request.headers.get("If-Match", tag := self.tag(content))
        if wanted != tag:
            return web.Response(status=412)
        start, end = 0, len(content)
        if request.query.get("partNumber") == "1":
            end = min(PART, end)
        elif "Range" in request.headers:
            first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1 if last else end
        is_part = (start, end) != (0, len(content)) or "partNumber" in request.query
        headers = {"ETag": tag}
        if self.encrypted:
            headers["x-amz-server-side-encryption"] = "aws:kms"
        if is_part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return web.Response(status=206 if is_part else 200, body=content[start:end], headers=headers)

    def tag(self, content: bytes) -> str:
        if len(content) <= PART:
            return f'"{hashlib.md5(content).hexdigest()}"'
        parts = [content[i : i + PART] for i in range(0, len(content), PART)]
        joined = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()
        return f'"{joined}-{len(parts)}"'

    def list(self, request: web.Request) -> web.Response:
        assert request.query["list-type"] == "2"
        after = request.query.get("continuation-token", "")
        keys = sorted(k for k in self.objects if k.startswith(request.query.get("prefix", "")) and k > after)
        shown, rest = keys[:2], keys[2:]
        entries = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(self.objects[k])}</Size>"
            f"<ETag>{escape(self.tag(self.objects[k]), {chr(34): '&quot;'})}</ETag></Contents>"
            for k in shown
        )
        more = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if rest else ""
        return web.Response(
            text='<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{'true' if rest else 'false'}</IsTruncated>{more}{entries}</ListBucketResult>"
        )


@pytest.fixture
async def server() -> AsyncIterator[S3Server]:
    found = S3Server()
    async with serving(found, *found.routes()):
        yield found


def settings_of(server: S3Server, **more: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": server.url, **more}


SIGNED = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize("token", [None, "", "session"])
async def test_a_folder_is_fetched_and_verified(server: S3Server, tmp_path: Path, token: str | None) -> None:
    settings = settings_of(server)
    if token is not None:
        server.keys = Keys("AKID", "secret", token)
        settings |= SIGNED | ({"AWS_SESSION_TOKEN": token} if token else {})
    wanted = Wanted("s3://bucket/models/m", patience=QUICK)
    found = await fetch_model(ModelCache(tmp_path / "cache"), wanted, settings)
    names = {p.relative_to(found.path).as_posix(): p.read_bytes() for p in found.path.rglob("*") if p.is_file()}
    assert names == {k.removeprefix("models/m/"): c for k, c in OBJECTS.items() if k.startswith("models/m/") and c}


async def test_checksums_are_those_of_the_parts(server: S3Server) -> None:
    source = open_source("s3://bucket/models/m/", settings_of(server), patience=QUICK)
    files = {f.name: f for f in (await source.listing()).files}
    weights = files["model.safetensors"].checksum
    assert weights is not None and weights.algorithm == "s3-multipart" and weights.part_bytes == PART
    assert files["config.json"].checksum == type(weights)("md5", hashlib.md5(b"{}").hexdigest())
    server.encrypted = True
    files = {f.name: f for f in (await source.listing()).files}
    assert files["config.json"].checksum is None, "with KMS the ETag is no MD5"
    await source.close()


async def test_one_object(server: S3Server) -> None:
    source = open_source("s3://bucket/models/m/model.safetensors", settings_of(server), patience=QUICK)
    [file] = (await source.listing()).files
    assert file.name == "model.safetensors"
    assert b"".join([part async for part in source.read(file, 5, 10)]) == WEIGHTS[5:10]
    server.objects["models/m/model.safetensors"] = b"x" * 2500
    with pytest.raises(Exception, match="has changed since"):
        async for _ in source.read(file, 5, 10):
            pass
    await source.close()


async def test_what_is_not_there_or_not_allowed_is_told(server: S3Server) -> None:
    async def listing(url: str, **settings: str) -> None:
        source = open_source(url, settings_of(server, **settings), patience=QUICK)
        try:
            await source.listing()
        finally:
            await source.close()

    with pytest.raises(NotThere, match="no object has this name"):
        await listing("s3://bucket/models/none")
    server.keys = KEYS
    with pytest.raises(Denied, match=r"it wants keys \(AWS_ACCESS_KEY_ID"):
        await listing("s3://bucket/models/m")
    with pytest.raises(Denied, match="the credentials do not suffice"):
        await listing("s3://bucket/models/m", **SIGNED | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(BadSource, match="AWS_SECRET_ACCESS_KEY is not"):
        await listing("s3://bucket/models/m", AWS_ACCESS_KEY_ID="AKID")
    with pytest.raises(BadSource, match="is no bucket"):
        await listing("s3://Bad_Bucket/x")


def test_the_signature_of_the_published_example() -> None:
    """GET Object with a range, of the Amazon S3 API reference."""
    signed = sign(
        "GET", "https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"},
        Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "us-east-1", 1369353600.0,
    )  # fmt: skip
    assert signed["x-amz-date"] == "20130524T000000Z"
    assert signed["Authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


async def test_keys_of_a_web_identity_and_of_a_container(server: S3Server, tmp_path: Path) -> None:
    clock = VirtualClock()
    asked: list[str] = []

    async def sts(request: web.Request) -> web.Response:
        asked.append(request.query["WebIdentityToken"])
        return web.Response(
            text='<R xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Credentials><AccessKeyId>AKID</AccessKeyId>'
            "<SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>"
            "<Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></R>"
        )

    async def container(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        return web.json_response({"AccessKeyId": "AKID", "SecretAccessKey": "secret", "Token": "session"})

    (tmp_path / "token").write_text("jwt\n")
    server.keys = Keys("AKID", "secret", "session")
    async with serving(FileServer(), web.get("/", sts), web.get("/keys", container)) as giver:
        for settings in (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "AWS_ROLE_ARN": "arn",
             "AWS_ENDPOINT_URL_STS": giver.url},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{giver.url}/keys",
             "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token")},
        ):  # fmt: skip
            source = open_source("s3://bucket/models/m", settings_of(server, **settings), patience=QUICK, clock=clock)
            assert len((await source.listing()).files) == 3
            await source.close()
    assert set(asked) == {"jwt"}
    for url in ("http://example.com/keys", "http://10.0.0.1/keys"):
        away = settings_of(server, AWS_CONTAINER_CREDENTIALS_FULL_URI=url)
        source = open_source("s3://bucket/models/m", away, patience=QUICK)
        with pytest.raises(BadSource, match="from this host only"):
            await source.listing()
        await source.close()


def test_styles_of_url() -> None:
    def base(**settings: str) -> str:
        source = open_source("s3://bucket/m", settings)
        return str(source._source._base)  # type: ignore[attr-defined]

    assert base() == "https://bucket.s3.us-east-1.amazonaws.com"
    assert base(AWS_REGION="eu-west-1") == "https://bucket.s3.eu-west-1.amazonaws.com"
    assert base(AWS_ENDPOINT_URL="http://h:9000/") == "http://h:9000/bucket"
    assert base(AWS_ENDPOINT_URL="http://h:9000", FAIRLEAD_S3_PATH_STYLE="0") == "http://bucket.h:9000"
    assert quote("é+ ", safe="/-_.~") == "%C3%A9%2B%20"
