"""`gs://bucket/prefix`: Google Cloud Storage by its JSON API, or by its S3-compatible one where HMAC keys are given.

Objects are listed with size, generation, MD5 and CRC32C (composite objects have no MD5), and read with `alt=media` of
that very generation. Source: the Cloud Storage JSON API reference.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from fairlead.clock import Clock
from fairlead.serving.store.sources.errors import BadSource, Denied, NotThere, SourceError, Unreachable
from fairlead.serving.store.sources.http import Answer, Answered, HttpReader, Request, RequestMaker, explain
from fairlead.serving.store.sources.listing import MAX_FILES, Checksum, Listing, SourceFile

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_RENEW_BEFORE_S = 300.0
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_FIELDS = "nextPageToken,items(name,size,generation,md5Hash,crc32c)"


class _Object(msgspec.Struct):
    name: str
    size: str
    generation: str = ""
    md5_hash: str = msgspec.field(default="", name="md5Hash")
    crc32c: str = ""


class _Page(msgspec.Struct):
    items: list[_Object] = []
    next_page_token: str = msgspec.field(default="", name="nextPageToken")


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


class GoogleTokens:
    """Access tokens: given (GOOGLE_OAUTH_ACCESS_TOKEN), of a service account's key file
    (GOOGLE_APPLICATION_CREDENTIALS, or `service-account.json` of the credentials folder), or of the machine's
    metadata server where FAIRLEAD_GS_AUTH is `metadata` or GCE_METADATA_HOST is set. None of them: anonymous."""

    def __init__(self, settings: Mapping[str, str], http: HttpReader, clock: Clock) -> None:
        self._settings, self._http, self._clock = settings, http, clock
        self._token, self._until_s = "", 0.0

    @property
    def are_there(self) -> bool:
        return self._has_key_file or self._on_machine or bool(self._settings.get("GOOGLE_OAUTH_ACCESS_TOKEN"))

    @property
    def _has_key_file(self) -> bool:
        return any(self._settings.get(name) for name in ("GOOGLE_APPLICATION_CREDENTIALS", "service-account.json"))

    @property
    def _on_machine(self) -> bool:
        return self._settings.get("FAIRLEAD_GS_AUTH") == "metadata" or bool(self._settings.get("GCE_METADATA_HOST"))

    async def get(self) -> str:
        """Empty for anonymous requests. Raises SourceError."""
        given = self._settings.get("GOOGLE_OAUTH_ACCESS_TOKEN", "").strip()
        if given or not self.are_there:
            return given
        if self._clock.wall_s() > self._until_s - _RENEW_BEFORE_S:
            try:
                answer = await self._http.fetch(self._asks())
                token = msgspec.json.decode(answer.body, type=_Token)
            except (Answered, msgspec.DecodeError) as error:
                raise Denied(f"no token for Google Cloud Storage: {error}") from error
            self._token, self._until_s = token.access_token, self._clock.wall_s() + token.expires_in
        return self._token

    def _asks(self) -> RequestMaker:
        if self._has_key_file:
            url, body = self._assertion()
            return lambda headers: Request(url, "POST", {**headers, **_FORM}, body=body)
        host = self._settings.get("GCE_METADATA_HOST") or "metadata.google.internal"
        return lambda headers: Request(f"http://{host}{_METADATA_PATH}", headers={"Metadata-Flavor": "Google"})

    def _assertion(self) -> tuple[str, bytes]:
        """The request for a token, signed with the account's key (RFC 7523)."""
        # Not needed by anybody else who fetches a model.
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        text = self._settings.get("service-account.json", "")
        try:
            account = json.loads(text or Path(self._settings["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
            email, url = account["client_email"], account.get("token_uri", "https://oauth2.googleapis.com/token")
            key = serialization.load_pem_private_key(account["private_key"].encode(), None)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadSource(f"the service account's key file cannot be used: {error}") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise BadSource("the service account's key file has no RSA key")
        now_s = int(self._clock.wall_s())
        claims = {"iss": email, "scope": _SCOPE, "aud": url, "iat": now_s, "exp": now_s + 3600}
        unsigned = _jwt_part({"alg": "RS256", "typ": "JWT"}) + b"." + _jwt_part(claims)
        signature = key.sign(unsigned, padding.PKCS1v15(), hashes.SHA256())
        assertion = unsigned + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return url, urlencode({"grant_type": grant, "assertion": assertion.decode()}).encode()


class Gcs:
    """Objects below a prefix. STORAGE_EMULATOR_HOST names another server."""

    def __init__(self, rest: str, settings: Mapping[str, str], http: HttpReader, clock: Clock) -> None:
        self._bucket, _, self._prefix = rest.partition("/")
        if not _BUCKET.fullmatch(self._bucket):
            raise BadSource(f"gs://{rest}: {self._bucket!r} is no bucket; it has to be gs://bucket/prefix")
        host = settings.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
        host = host if "://" in host else f"http://{host}"
        self._base = f"{host.rstrip('/')}/storage/v1/b/{self._bucket}/o"
        self._http = http
        self._tokens = GoogleTokens(settings, http, clock)
        self._token = ""

    @property
    def url(self) -> str:
        return f"gs://{self._bucket}/{self._prefix}"

    async def listing(self) -> Listing:
        objects = await self._objects()
        folder = self._prefix if not self._prefix or self._prefix.endswith("/") else f"{self._prefix}/"
        below = [o for o in objects if o.name.startswith(folder) and not o.name.endswith("/")]
        root = folder
        if not below:
            below = [o for o in objects if o.name == self._prefix]
            root = self._prefix[: self._prefix.rfind("/") + 1]
        if not below:
            raise NotThere(f"{self.url}: no object has this name or is below it")
        return Listing(tuple(_file(o, root) for o in below))

    async def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        self._token = await self._tokens.get()
        name, _, generation = file.locator.rpartition("#")
        version = f"&generation={generation}" if generation else ""
        url = f"{self._base}/{quote(name, safe='')}?alt=media{version}"
        try:
            async for data in self._http.read(lambda headers: self._request(url, headers), start, end, size=file.size):
                yield data
        except Answered as error:
            raise self._explain(error, f"{self.url} {file.name}") from error

    async def close(self) -> None:
        await self._http.close()

    async def _objects(self) -> list[_Object]:
        found: list[_Object] = []
        parameters = {"prefix": self._prefix, "fields": _FIELDS}
        while True:
            answer = await self._ask(f"{self._base}?{urlencode(parameters)}")
            try:
                page = msgspec.json.decode(answer.body, type=_Page)
            except msgspec.DecodeError as error:
                raise Unreachable(f"{self.url}: the listing cannot be read: {error}") from error
            found += page.items
            if len(found) > MAX_FILES:
                raise NotThere(f"{self.url} has more than {MAX_FILES} objects: name the folder of one model")
            if not page.next_page_token:
                return found
            parameters["pageToken"] = page.next_page_token

    async def _ask(self, url: str) -> Answer:
        self._token = await self._tokens.get()
        try:
            return await self._http.fetch(lambda headers: self._request(url, headers))
        except Answered as error:
            raise self._explain(error, self.url) from error

    def _request(self, url: str, headers: Mapping[str, str]) -> Request:
        own = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return Request(url, headers=headers, host_headers=own)

    def _explain(self, error: Answered, what: str) -> SourceError:
        remedy = "a token (GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_OAUTH_ACCESS_TOKEN, or FAIRLEAD_GS_AUTH=metadata)"
        return explain(error, what, has_credentials=self._tokens.are_there, remedy=remedy)


def _file(found: _Object, root: str) -> SourceFile:
    checksum = None
    try:
        if found.md5_hash:
            checksum = Checksum("md5", base64.b64decode(found.md5_hash, validate=True).hex())
        elif found.crc32c:
            checksum = Checksum("crc32c", base64.b64decode(found.crc32c, validate=True).hex())
        size = int(found.size)
    except (binascii.Error, ValueError) as error:
        raise Unreachable(f"the listing of {found.name!r} cannot be read: {error}") from error
    locator = f"{found.name}#{found.generation}"
    return SourceFile(found.name.removeprefix(root), size, checksum, found.generation, locator)


def _jwt_part(content: Mapping[str, object]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")
