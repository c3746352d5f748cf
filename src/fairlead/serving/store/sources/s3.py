"""`s3://bucket/prefix`: Amazon S3 and what speaks its protocol.

`ListObjectsV2` names the objects below the prefix (or the one object of that name); each is read by ranges under its
ETag. An ETag of 32 digits is the MD5 of the object unless it is encrypted with a customer's keys; `md5-N` is that of N
parts, whose size a HEAD of the first part tells. Source: the Amazon S3 API reference.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit
from xml.etree import ElementTree

from fairlead.clock import Clock
from fairlead.serving.store.sources.aws_keys import AwsKeys
from fairlead.serving.store.sources.errors import BadSource, NotThere, SourceError, Unreachable
from fairlead.serving.store.sources.http import Answer, Answered, HttpReader, Request, explain
from fairlead.serving.store.sources.listing import MAX_FILES, Checksum, Listing, SourceFile
from fairlead.serving.store.sources.sigv4 import Keys, encode_path, encode_query, sign

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MD5 = re.compile(r"([0-9a-f]{32})(?:-(\d+))?")


class S3:
    """Objects below a prefix. Settings as of the AWS SDKs: keys, AWS_REGION, AWS_ENDPOINT_URL(_S3); further
    FAIRLEAD_S3_PATH_STYLE for servers that have buckets in the path alone (any custom endpoint is taken for one)."""

    def __init__(self, rest: str, settings: Mapping[str, str], http: HttpReader, clock: Clock) -> None:
        self._bucket, _, self._prefix = rest.partition("/")
        if not _BUCKET.fullmatch(self._bucket):
            raise BadSource(f"s3://{rest}: {self._bucket!r} is no bucket; it has to be s3://bucket/prefix")
        self._region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL") or ""
        style = settings.get("FAIRLEAD_S3_PATH_STYLE", "").lower()
        by_path = style in ("1", "true") or ((bool(endpoint) or "." in self._bucket) and style not in ("0", "false"))
        base = urlsplit((endpoint or f"https://s3.{self._region}.amazonaws.com").rstrip("/"))
        if base.scheme not in ("http", "https"):
            raise BadSource(f"the endpoint {endpoint!r} has to begin with https:// or http://")
        if by_path:
            self._base = f"{base.scheme}://{base.netloc}{base.path}/{self._bucket}"
        else:
            self._base = f"{base.scheme}://{self._bucket}.{base.netloc}{base.path}"
        self._http, self._clock = http, clock
        self._source = AwsKeys(settings, http, clock)
        self._keys: Keys | None = None

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    async def listing(self) -> Listing:
        folder = self._prefix if not self._prefix or self._prefix.endswith("/") else f"{self._prefix}/"
        objects = await self._objects(self._prefix)
        below = [o for o in objects if o[0].startswith(folder) and not o[0].endswith("/")]
        root = folder
        if not below:
            below = [o for o in objects if o[0] == self._prefix]
            root = self._prefix.rpartition("/")[0]
            root = f"{root}/" if root else ""
        if not below:
            raise NotThere(f"{self.url}: no object has this name or is below it")
        files = await asyncio.gather(*(self._file(key, key.removeprefix(root), size, tag) for key, size, tag in below))
        return Listing(tuple(files))

    async def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        self._keys = await self._source.get()
        url = f"{self._base}/{encode_path(file.locator)}"
        try:
            async for data in self._http.read(
                lambda headers: self._request("GET", url, headers), start, end, tag=file.tag, size=file.size
            ):
                yield data
        except Answered as error:
            raise self._explain(error, f"{self.url} {file.name}") from error

    async def close(self) -> None:
        await self._http.close()

    async def _objects(self, prefix: str) -> list[tuple[str, int, str]]:
        """Key, size and ETag of all that begins so."""
        found: list[tuple[str, int, str]] = []
        parameters = {"list-type": "2", "prefix": prefix}
        while True:
            answer = await self._ask("GET", f"{self._base}/?{encode_query(parameters)}")
            document = _parse(answer.body, self.url)
            for entry in (e for e in document if _name(e) == "Contents"):
                values = {_name(e): e.text or "" for e in entry}
                found.append((values["Key"], int(values["Size"]), values.get("ETag", "")))
            if len(found) > MAX_FILES:
                raise NotThere(f"{self.url} has more than {MAX_FILES} objects: name the folder of one model")
            top = {_name(e): e.text or "" for e in document}
            token = top.get("NextContinuationToken", "")
            if top.get("IsTruncated") != "true" or not token:
                return found
            parameters["continuation-token"] = token

    async def _file(self, key: str, name: str, size: int, tag: str) -> SourceFile:
        plain = _MD5.fullmatch(tag.strip('"'))
        checksum = None
        if plain and plain[2]:
            first = await self._ask("HEAD", f"{self._base}/{encode_path(key)}?partNumber=1")
            length = first.headers.get("Content-Length", "")
            if first.status == 206 and length.isdecimal() and int(length) > 0:
                checksum = Checksum("s3-multipart", f"{plain[1]}-{plain[2]}", int(length))
        elif plain and await self._is_md5(key):
            checksum = Checksum("md5", plain[1])
        return SourceFile(name, size, checksum, tag, key)

    async def _is_md5(self, key: str) -> bool:
        """With keys of the customer or of KMS, the ETag is no MD5."""
        head = await self._ask("HEAD", f"{self._base}/{encode_path(key)}")
        kind = head.headers.get("x-amz-server-side-encryption", "")
        return not kind.startswith("aws:kms") and "x-amz-server-side-encryption-customer-algorithm" not in head.headers

    async def _ask(self, method: str, url: str) -> Answer:
        self._keys = await self._source.get()
        try:
            return await self._http.fetch(lambda headers: self._request(method, url, headers))
        except Answered as error:
            raise self._explain(error, self.url) from error

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> Request:
        if self._keys is None:
            return Request(url, method, headers)
        signed = sign(method, url, headers, self._keys, self._region, self._clock.wall_s())
        return Request(url, method, host_headers=signed)

    def _explain(self, error: Answered, what: str) -> SourceError:
        if error.status == 301 or "PermanentRedirect" in error.detail:
            region = error.headers.get("x-amz-bucket-region", "another region")
            return BadSource(f"{what}: the bucket is in {region}: set AWS_REGION")
        return explain(
            error, what, has_credentials=self._source.are_there, remedy="keys (AWS_ACCESS_KEY_ID and its secret)"
        )


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _parse(body: bytes, what: str) -> ElementTree.Element:
    # Expat bounds the growth of entities itself; a listing has no document type, and one with it is refused.
    if b"<!DOCTYPE" in body[:1024]:
        raise Unreachable(f"{what}: the answer is no listing")
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Unreachable(f"{what}: the listing cannot be read: {error}") from error
