"""Files, folders and archives of web servers: what each kind of URL means, and what is wrong with others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fairlead.serving.store.sources import BadSource, Denied, Listing, NotThere, Unreachable, Unsafe, open_source
from fairlead.serving.store.sources.http import Patience
from serving.store.file_server import FileServer, serving

QUICK = Patience(first_wait_s=0.01, attempts=2, silence_s=1)


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving(FileServer({"/f.gguf": b"GGUF", "/a.tar.gz": b"x"})) as found:
        yield found


async def listed(url: str, **settings: str) -> Listing:
    source = open_source(url, settings, patience=QUICK)
    try:
        return await source.listing()
    finally:
        await source.close()


async def test_one_file_or_an_archive(server: FileServer) -> None:
    [file] = (await listed(f"{server.url}/f.gguf")).files
    assert (file.name, file.size, file.unpack) == ("f.gguf", 4, False) and file.tag.startswith('"')
    [file] = (await listed(f"{server.url}/a.tar.gz#sha256={'0' * 64}")).files
    assert file.unpack and file.checksum is not None and file.checksum.value == "0" * 64


async def test_servers_that_take_no_head_are_asked_for_a_byte() -> None:
    content = b"GGUF" * 100

    async def only_get(request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response(status=403)
        if request.headers.get("Range") == "bytes=0-0":
            return web.Response(status=206, body=content[:1], headers={"Content-Range": f"bytes 0-0/{len(content)}"})
        return web.Response(body=content)

    async with serving(FileServer(), web.route("*", "/f", only_get)) as server:
        [file] = (await listed(f"{server.url}/f?signature=x")).files
        assert file.size == len(content) and file.name == "f"


@pytest.mark.parametrize("path", ["/m/", "/m/index.json"])
async def test_a_folder_with_an_index(server: FileServer, path: str) -> None:
    index = {"files": [{"name": "sub/a b.json", "size": 2, "sha256": "A" * 64}, {"name": "x.bin"}]}
    server.files["/m/index.json"] = json.dumps(index).encode()
    first, second = (await listed(server.url + path)).files
    assert first.name == "sub/a b.json" and first.locator == f"{server.url}/m/sub/a%20b.json"
    assert first.checksum is not None and first.checksum.value == "a" * 64
    assert second.size is None and second.checksum is None


async def test_indexes_that_are_none(server: FileServer) -> None:
    with pytest.raises(NotThere, match=r"needs an index\.json"):
        await listed(f"{server.url}/m/")
    for text in (b"<html>", b"[]", b'{"files": [{"size": 1}]}'):
        server.files["/m/index.json"] = text
        with pytest.raises(Unreachable, match="no index of files"):
            await listed(f"{server.url}/m/")
    server.files["/m/index.json"] = b'{"files": [{"name": "../up"}]}'
    with pytest.raises(Unsafe):
        await listed(f"{server.url}/m/")


async def test_logins(server: FileServer) -> None:
    await listed(f"{server.url}/f.gguf", token="t")
    assert server.headers[-1]["Authorization"] == "Bearer t"
    await listed(f"{server.url}/f.gguf", HTTP_AUTHORIZATION="Basic abc", token="t")
    assert server.headers[-1]["Authorization"] == "Basic abc"
    server.manners.status = 401
    with pytest.raises(Denied, match="it wants a login"):
        await listed(f"{server.url}/f.gguf")


@pytest.mark.parametrize("url", ["http:///x", "https://h/f#md5=1", "https://h/f#sha256=12", "ftp://h/f", "f"])
async def test_urls_that_mean_nothing(url: str) -> None:
    with pytest.raises(BadSource):
        await listed(url)


async def test_secrets_are_not_in_names() -> None:
    source = open_source("https://user:password@h/m.gguf?signature=secret", {})
    assert source.url == "https://h/m.gguf"
    await source.close()
