"""What a server is, told by pages that it serves. Pages by the sources and API references of each server."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.targets.sending import Server
from fairlead.bench.targets.tensors import DATATYPES, guessed

FIRST_PAGES = ("/v1/models", "/version")
INFERENCE_PAGE = "/v2"
# kind -> the page with its version, and what the version is called there
VERSION_PAGES = {
    "sglang": ("/get_server_info", "version"),
    "ollama": ("/api/version", "version"),
    "llama.cpp": ("/props", "build_info"),
    "": ("/info", "version"),
}
# `owned_by` of a model -> kind
_OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "library": "ollama",
    "tensorrt_llm": "tensorrt-llm",
    "fairlead": "fairlead-gateway",
}
_HOSTS = {"api.openai.com": "openai", ".openai.azure.com": "openai", "api.anthropic.com": "anthropic"}
_LISTED = 50

Pages = dict[str, Any]
"""Path -> the JSON that is served there; what was not served is not in it."""


def identify(host: str, pages: Pages) -> Server:
    """From the pages that were served."""
    listed = _entries(pages.get("/v1/models"))
    models = tuple(str(entry["id"]) for entry in listed if entry.get("id"))
    owners = [str(entry.get("owned_by")).lower() for entry in listed]
    version = _text(pages.get("/version"), "version")
    for suffix, kind in _HOSTS.items():
        if host == suffix or (suffix.startswith(".") and host.endswith(suffix)):
            return Server(kind=kind, told_by=f"the host {host}", models=models)
    for owner in owners:
        if owner in _OWNERS:
            kind = _OWNERS[owner]
            return Server(kind=kind, version=version, told_by=f"owned_by {owner} in /v1/models", models=models)
    named = _text(pages.get(INFERENCE_PAGE), "name")
    if named:
        kind = "openvino" if named.lower().startswith("openvino") else named.lower()
        return Server(kind=kind, version=_text(pages[INFERENCE_PAGE], "version"), told_by="/v2", models=models)
    if "text-generation" in _text(pages.get("/info"), "router"):
        return Server(kind="tgi", version=_text(pages["/info"], "version"), told_by="/info", models=models)
    return Server(version=version, told_by="/version" if version else "", models=models)


def with_version(server: Server, pages: Pages) -> Server:
    """With what the page of its kind says."""
    if server.version or server.kind not in VERSION_PAGES:
        return server
    path, field = VERSION_PAGES[server.kind]
    return msgspec.structs.replace(server, version=_text(pages.get(path), field))


def with_tensors(server: Server, metadata: Any) -> Server:
    """With the inputs that a model's metadata of the Open Inference Protocol names."""
    inputs = metadata.get("inputs") if isinstance(metadata, dict) else None
    tensors = []
    for entry in inputs if isinstance(inputs, list) else ():
        name, datatype, shape = (entry.get(key) for key in ("name", "datatype", "shape"))
        sizes = tuple(int(size) for size in shape) if isinstance(shape, list) else ()
        if isinstance(name, str) and datatype in DATATYPES and all(size > 0 or size == -1 for size in sizes):
            tensors.append(guessed(name, datatype, sizes or (1,)))
    return msgspec.structs.replace(server, tensors=tuple(tensors))


def listed(names: tuple[str, ...]) -> str:
    """For a message."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(repr(name) for name in names[:_LISTED]) + more


def _entries(page: Any) -> list[dict[str, Any]]:
    data = page.get("data") if isinstance(page, dict) else None
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _text(page: Any, field: str) -> str:
    value = page.get(field) if isinstance(page, dict) else None
    return value if isinstance(value, str) else ""
