"""`hf://owner/name[@revision]`: the Hugging Face hub and what speaks its HTTP API.

Protocol (as `huggingface_hub` uses it): `/api/models/NAME/revision/REV` names the commit, `/api/models/NAME/tree/REV`
lists files page by page (`Link: rel="next"`) with sizes, git ids and the SHA-256 of large files, and
`/NAME/resolve/COMMIT/PATH` leads to the bytes. Reasons are in the headers X-Error-Code and X-Error-Message.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from fairlead.serving.store.sources.errors import BadSource, Denied, NotThere, SourceError, Unreachable
from fairlead.serving.store.sources.http import Answer, Answered, HttpReader, Request, explain
from fairlead.serving.store.sources.listing import Checksum, Listing, SourceFile

ENDPOINT = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_MAX_PAGES = 200
T = TypeVar("T")


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Entry(msgspec.Struct):
    type: str
    path: str
    oid: str = ""
    size: int = 0
    lfs: _Lfs | None = None


class _Revision(msgspec.Struct):
    sha: str


def parse_hub(rest: str) -> tuple[str, str]:
    """Name and revision of what stands after `hf://`. Raises BadSource."""
    name, separator, revision = rest.partition("@")
    if not separator:
        name, separator, revision = rest.partition(":")
    if not _NAME.fullmatch(name) or (separator and not revision):
        raise BadSource(f"hf://{rest}: it has to be hf://owner/name or hf://owner/name@revision")
    return name, revision or "main"


class Hub:
    """One model of a hub. `settings`: HF_ENDPOINT, and HF_TOKEN or token."""

    def __init__(self, rest: str, settings: Mapping[str, str], http: HttpReader) -> None:
        self._model, self._revision = parse_hub(rest)
        self._endpoint = (settings.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        token = settings.get("HF_TOKEN") or settings.get("token") or settings.get("HUGGING_FACE_HUB_TOKEN") or ""
        self._headers = {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
        self._http = http
        self._commit = self._revision if _COMMIT.fullmatch(self._revision) else ""

    @property
    def url(self) -> str:
        return f"hf://{self._model}@{self._revision}"

    async def listing(self) -> Listing:
        revision = quote(self._revision, safe="")
        answer = await self._ask(f"{self._endpoint}/api/models/{self._model}/revision/{revision}")
        self._commit = _decode(answer, _Revision, self.url).sha
        if not _COMMIT.fullmatch(self._commit):
            raise Unreachable(f"{self.url}: {self._endpoint} names {self._commit!r}, which is no commit")
        url: str | None = f"{self._endpoint}/api/models/{self._model}/tree/{self._commit}?recursive=true"
        entries: list[_Entry] = []
        for _ in range(_MAX_PAGES):
            if url is None:
                break
            answer = await self._ask(url)
            entries += _decode(answer, list[_Entry], self.url)
            following = _NEXT.search(answer.headers.get("Link", ""))
            url = urljoin(url, following[1]) if following else None
            if url is not None and urlsplit(url).netloc != urlsplit(self._endpoint).netloc:
                raise Unreachable(f"{self.url}: the next page of its files would be on another host")
        files = tuple(_file(entry) for entry in entries if entry.type == "file")
        return Listing(files, exact=f"hf://{self._model}@{self._commit}")

    async def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        url = f"{self._endpoint}/{self._model}/resolve/{self._commit or self._revision}/{quote(file.name)}"

        def make(headers: Mapping[str, str]) -> Request:
            return Request(url, headers=headers, host_headers=self._headers)

        try:
            async for data in self._http.read(make, start, end, size=file.size):
                yield data
        except Answered as error:
            raise self._explain(error, f"{self.url} {file.name}") from error

    async def close(self) -> None:
        await self._http.close()

    async def _ask(self, url: str) -> Answer:
        try:
            return await self._http.fetch(lambda headers: Request(url, headers=headers, host_headers=self._headers))
        except Answered as error:
            raise self._explain(error, self.url) from error

    def _explain(self, error: Answered, what: str) -> SourceError:
        code = error.headers.get("X-Error-Code", "")
        message = error.headers.get("X-Error-Message", "") or error.detail
        token = "the token does not" if self._headers else "there is no token to"
        if code == "GatedRepo":
            return Denied(f"{what}: its owner grants access on request, and {token} have it: {message}")
        if code == "RevisionNotFound":
            return NotThere(f"{what}: there is no revision {self._revision!r}")
        if code == "EntryNotFound":
            return NotThere(f"{what}: there is no such file in revision {self._commit or self._revision}")
        if code == "RepoNotFound" or error.status == 401:
            # The hub does not tell strangers whether a private repository exists.
            return NotThere(f"{what}: there is no such model, or it is private and {token} open it")
        return explain(error, what, has_credentials=bool(self._headers), remedy="a token (HF_TOKEN)")


def _file(entry: _Entry) -> SourceFile:
    if entry.lfs is not None:
        return SourceFile(entry.path, entry.lfs.size, Checksum("sha256", entry.lfs.oid.removeprefix("sha256:")))
    checksum = Checksum("git-sha1", entry.oid) if _COMMIT.fullmatch(entry.oid) else None
    return SourceFile(entry.path, entry.size, checksum, tag=entry.oid)


def _decode(answer: Answer, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"{what}: the hub's answer cannot be read: {error}") from error
