"""`http(s)://`: one file, an archive, or a folder with an `index.json`.

A URL that ends with `/` or `index.json` is a folder: the index is `{"files": [{"name", "size", "sha256"}]}`, with names
relative to it. One that ends with .tar, .tar.gz, .tgz or .tar.zst is an archive of the model's files. Anything else is
one file. `#sha256=…` at the end of the URL of a file or archive says what it has to be.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

import msgspec

from fairlead.serving.store.sources.errors import BadSource, NotThere, SourceError, Unreachable
from fairlead.serving.store.sources.http import Answer, Answered, HttpReader, Request, RequestMaker, explain, plain_url
from fairlead.serving.store.sources.listing import Checksum, Listing, SourceFile, check_names

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Indexed(msgspec.Struct):
    name: str
    size: int | None = None
    sha256: str = ""


class _Index(msgspec.Struct):
    files: list[_Indexed]


class Web:
    """Files of a web server. Settings: HTTP_AUTHORIZATION (the whole header), or `token` for a bearer token."""

    def __init__(self, url: str, settings: Mapping[str, str], http: HttpReader) -> None:
        self._url, fragment = urldefrag(url)
        if not urlsplit(self._url).hostname:
            raise BadSource(f"{url}: it names no host")
        key, _, value = fragment.partition("=")
        if fragment and (key != "sha256" or not _SHA256.fullmatch(value.lower())):
            raise BadSource(f"{url}: what stands after # has to be sha256= and 64 hexadecimal digits")
        self._sha256 = value.lower()
        header = settings.get("HTTP_AUTHORIZATION") or (f"Bearer {settings['token']}" if settings.get("token") else "")
        self._headers = {"Authorization": header.strip()} if header else {}
        self._http = http

    @property
    def url(self) -> str:
        return plain_url(self._url)

    async def listing(self) -> Listing:
        path = urlsplit(self._url).path
        if path.endswith(("/", "/index.json")):
            return await self._folder()
        name = unquote(path.rpartition("/")[2])
        if not name:
            raise BadSource(f"{self.url}: it names no file; a folder's URL ends with /")
        size, tag = await self._look()
        checksum = Checksum("sha256", self._sha256) if self._sha256 else None
        is_archive = name.lower().endswith(ARCHIVES)
        file = SourceFile(name, size, checksum, tag, self._url, unpack=is_archive)
        warnings = () if checksum else (f"{self.url} names no checksum: add #sha256=… to have it verified",)
        return Listing((file,), warnings=warnings)

    async def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        tag = file.tag if file.tag.startswith('"') else ""
        try:
            async for data in self._http.read(self._maker(file.locator), start, end, tag=tag, size=file.size):
                yield data
        except Answered as error:
            raise self._explain(error, plain_url(file.locator)) from error

    async def close(self) -> None:
        await self._http.close()

    async def _folder(self) -> Listing:
        index_url = urljoin(self._url, "index.json")
        try:
            answer = await self._http.fetch(self._maker(index_url))
        except Answered as error:
            if error.status == 404:
                raise NotThere(f"{self.url}: a folder needs an index.json that names its files") from error
            raise self._explain(error, plain_url(index_url)) from error
        try:
            index = msgspec.json.decode(answer.body, type=_Index)
        except msgspec.DecodeError as error:
            raise Unreachable(f"{plain_url(index_url)} is no index of files: {error}") from error
        files = [
            SourceFile(
                entry.name,
                entry.size,
                Checksum("sha256", entry.sha256.lower()) if entry.sha256 else None,
                locator=urljoin(self._url, quote(entry.name)),
            )
            for entry in index.files
        ]
        check_names(files, self.url)
        return Listing(tuple(files))

    async def _look(self) -> tuple[int | None, str]:
        """Size and version of the file."""
        make = self._maker(self._url)
        try:
            answer = await self._http.fetch(lambda headers: replace(make(headers), method="HEAD"))
            length = answer.headers.get("Content-Length", "")
        except Answered as error:
            if error.status not in (403, 405, 501):
                raise self._explain(error, self.url) from error
            # Signed URLs are for GET alone.
            answer = await self._first_byte()
            length = answer.headers.get("Content-Range", "").rpartition("/")[2]
        tag = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
        return int(length) if length.isdecimal() else None, tag

    async def _first_byte(self) -> Answer:
        make = self._maker(self._url)
        try:
            return await self._http.fetch(lambda headers: make({**headers, "Range": "bytes=0-0"}))
        except Answered as error:
            raise self._explain(error, self.url) from error

    def _maker(self, url: str) -> RequestMaker:
        same_host = urlsplit(url).netloc == urlsplit(self._url).netloc
        own = self._headers if same_host else {}
        return lambda headers: Request(url, headers=headers, host_headers=own)

    def _explain(self, error: Answered, what: str) -> SourceError:
        remedy = "a login (HTTP_AUTHORIZATION or token)"
        return explain(error, what, has_credentials=bool(self._headers), remedy=remedy)
