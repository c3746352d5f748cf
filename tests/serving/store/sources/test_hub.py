"""The hub's HTTP API, spoken by a server of ours: listings page by page, commits, gated and private models, renamed
ones, the CDN that must not see the token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from fairlead.serving.store.sources import (
    BadSource,
    Denied,
    NotThere,
    SourceFile,
    Unreachable,
    Unsafe,
    open_source,
)
from fairlead.serving.store.sources.http import Patience
from fairlead.serving.store.sources.hub import parse_hub
from serving.store.file_server import FileServer, serving

COMMIT = "c0ffee" + "0" * 34
FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "model-00001-of-00002.safetensors": b"one" * 1000,
    "model-00002-of-00002.safetensors": b"two" * 1000,
    "model.safetensors.index.json": b"{}",
    "pytorch_model.bin": b"old" * 1000,
    "README.md": b"hello",
    "tokenizer.json": b"{}",
    "original/consolidated.00.pth": b"other",
    ".gitattributes": b"x",
}
QUICK = Patience(first_wait_s=0.01, attempts=2, silence_s=1)


class HubServer(FileServer):
    """One model, `o/m`; `listed` replaces what it lists."""

    token = ""
    denied = ("", 401)
    listed: Sequence[dict[str, object]] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/models/{owner}/{name}/revision/{revision}", self.revision),
            web.get("/api/models/{owner}/{name}/tree/{revision}", self.tree),
            web.get("/{owner}/{name}/resolve/{revision}/{path:.+}", self.resolve),
        ]

    def refuse(self, request: web.Request) -> web.Response | None:
        self.headers.append(dict(request.headers))
        if self.denied[0]:
            return web.Response(status=self.denied[1], headers={"X-Error-Code": self.denied[0]})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, headers={"X-Error-Message": "Invalid username or password."})
        return None

    async def revision(self, request: web.Request) -> web.Response:
        if (refused := self.refuse(request)) is not None:
            return refused
        if request.match_info["revision"] not in ("main", "refs/pr/1", COMMIT):
            return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        return web.json_response({"id": "o/m", "sha": COMMIT, "siblings": []})

    async def tree(self, request: web.Request) -> web.Response:
        if (refused := self.refuse(request)) is not None:
            return refused
        assert request.match_info["revision"] == COMMIT and request.query["recursive"] == "true"
        entries = list(self.listed) if self.listed is not None else [entry(n, c) for n, c in FILES.items()]
        entries.append({"type": "directory", "path": "original", "oid": "1" * 40, "size": 0})
        page = int(request.query.get("cursor", "0"))
        shown, rest = entries[page : page + 4], entries[page + 4 :]
        link = f'<{self.url}{request.path}?recursive=true&cursor={page + 4}>; rel="next"'
        return web.json_response(shown, headers={"Link": link} if rest else {})

    async def resolve(self, request: web.Request) -> web.Response:
        if (refused := self.refuse(request)) is not None:
            return refused
        raise web.HTTPFound(self.redirects["cdn"] + "/" + request.match_info["path"])


def entry(name: str, content: bytes) -> dict[str, object]:
    if name.endswith((".safetensors", ".bin", ".pth")):
        found = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return {"type": "file", "path": name, "oid": "2" * 40, "size": len(content), "lfs": found}
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return {"type": "file", "path": name, "oid": blob, "size": len(content)}


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    server = HubServer()
    async with serving(FileServer({f"/{n}": c for n, c in FILES.items()})) as cdn, serving(server, *server.routes()):
        server.redirects["cdn"] = cdn.url
        yield server


async def listed(hub: HubServer, url: str, **settings: str) -> tuple[list[str], str]:
    source = open_source(url, {"HF_ENDPOINT": hub.url, **settings}, patience=QUICK)
    try:
        listing = await source.listing()
        return [file.name for file in listing.files], listing.exact
    finally:
        await source.close()


async def test_what_an_engine_needs_is_listed_over_pages(hub: HubServer) -> None:
    names, exact = await listed(hub, "hf://o/m")
    assert names == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.json",
    ]  # fmt: skip
    assert exact == f"hf://o/m@{COMMIT}"
    assert (await listed(hub, "hf://o/m@refs/pr/1"))[0] == names
    assert (await listed(hub, f"hf://o/m:{COMMIT}"))[0] == names


async def test_other_files_are_chosen_by_format_or_pattern(hub: HubServer) -> None:
    names, exact = await listed(hub, "hf://o/m?format=pytorch")
    assert names == ["config.json", "original/consolidated.00.pth", "pytorch_model.bin", "tokenizer.json"]
    assert exact == f"hf://o/m@{COMMIT}?format=pytorch"
    assert (await listed(hub, "hf://o/m?include=*.md&include=config.json"))[0] == ["README.md", "config.json"]
    with pytest.raises(NotThere, match="it has no gguf weights, but pytorch, safetensors"):
        await listed(hub, "hf://o/m?format=gguf")
    with pytest.raises(BadSource, match="'revision' means nothing here"):
        await listed(hub, "hf://o/m?revision=1")


async def test_bytes_come_from_the_cdn_which_sees_no_token(hub: HubServer) -> None:
    hub.token = "hf_secret"
    source = open_source("hf://o/m", {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret"}, patience=QUICK)
    listing = await source.listing()
    for file in listing.files:
        whole = b"".join([part async for part in source.read(file, 0, None)])
        assert whole == FILES[file.name]
    part = [part async for part in source.read(listing.files[1], 3, 9)]
    assert b"".join(part) == FILES[listing.files[1].name][3:9]
    await source.close()


async def test_who_may_not_read_it_is_told_why(hub: HubServer) -> None:
    hub.token = "hf_secret"
    with pytest.raises(NotThere, match="no such model, or it is private and there is no token to open it"):
        await listed(hub, "hf://o/m")
    with pytest.raises(NotThere, match="the token does not open it"):
        await listed(hub, "hf://o/m", HF_TOKEN="another")
    hub.token, hub.denied = "", ("GatedRepo", 403)
    with pytest.raises(Denied, match="grants access on request"):
        await listed(hub, "hf://o/m")
    hub.denied = ("", 401)
    with pytest.raises(NotThere, match="no revision 'v9'"):
        await listed(hub, "hf://o/m@v9")


async def test_names_that_lead_out_are_refused(hub: HubServer) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "a/../b", "a//b", "a\\b", "a\nb", ""):
        hub.listed = [entry(name, b"x")]
        with pytest.raises(Unsafe):
            await listed(hub, "hf://o/m")
    hub.listed = [entry("a", b"x"), entry("a/b", b"x")]
    with pytest.raises(Unsafe, match="as a file and as the folder"):
        await listed(hub, "hf://o/m")


async def test_answers_that_are_none(hub: HubServer) -> None:
    hub.listed = [{"type": "file"}]
    with pytest.raises(Unreachable, match="cannot be read"):
        await listed(hub, "hf://o/m")


async def test_a_file_that_is_gone_names_itself(hub: HubServer) -> None:
    source = open_source(f"hf://o/m@{COMMIT}", {"HF_ENDPOINT": hub.url}, patience=QUICK)
    with pytest.raises(NotThere, match=r"gone\.json"):
        async for _ in source.read(SourceFile("gone.json", 5), 0, None):
            pass
    await source.close()


@pytest.mark.parametrize("rest", ["", "a/b/c", "a b/c", "../b", "o/m@", "o/m:", "-x/y"])
def test_what_names_no_model(rest: str) -> None:
    with pytest.raises(BadSource):
        parse_hub(rest)


def test_names_and_revisions() -> None:
    assert parse_hub("gpt2") == ("gpt2", "main")
    assert parse_hub("o/m.x_y-z@refs/pr/7") == ("o/m.x_y-z", "refs/pr/7")
    assert json.dumps(parse_hub("o/m:v1")) == '["o/m", "v1"]'
