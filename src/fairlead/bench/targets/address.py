"""Where a request goes and with what in front: the request line and headers, up to the length of the body."""

from __future__ import annotations

import base64
import os
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

from fairlead.bench.config.target import Target
from fairlead.bench.paths import user_path

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
    "messages": "/v1/messages",
    "open-inference": "/v2/models/${model}/infer",
    "triton-generate": "/v2/models/${model}/generate",
    "raw": "",
}
ANTHROPIC_VERSION = "2023-06-01"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(("content-length", "transfer-encoding", "connection", "expect", "upgrade"))


def split(target: Target) -> SplitResult:
    """The parts of the URL. Raises ValueError for one that cannot be called."""
    try:
        parts = urlsplit(target.url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"url is {target.url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url is {target.url!r}: write http://HOST:PORT or https://HOST:PORT")
    return parts


def path_of(target: Target, model: str) -> str:
    """Path and query. An SDK's base URL ends with `/v1`, and some give the whole address: neither is doubled."""
    parts = split(target)
    query = f"?{parts.query}" if parts.query else ""
    name = quote(model, safe="")
    if target.path is not None:
        if not target.path.startswith("/"):
            raise ValueError(f"path is {target.path!r}: it begins with a slash")
        return target.path.replace("${model}", name)
    base, path = parts.path.rstrip("/"), PATHS[target.api].replace("${model}", name)
    if target.api == "triton-generate" and target.stream:
        path += "_stream"
    if base.endswith(path):
        return (base or "/") + query
    version = path[:3]
    if version in ("/v1", "/v2") and base.endswith(version):
        path = path.removeprefix(version)
    return base + path + query


def headers_of(target: Target) -> dict[str, str]:
    """All but the length, names as they are written, values with secrets in them. Raises ValueError."""
    parts = split(target)
    headers = {
        "Host": parts.netloc.rpartition("@")[2],
        "User-Agent": "fairlead-bench",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }
    if target.api == "messages":
        headers["anthropic-version"] = ANTHROPIC_VERSION
    headers |= _credentials(target, parts)
    for name, value in target.headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            why = "it is the load generator's own" if name.lower() in _OURS else "that is no name of a header"
            raise ValueError(f"headers has {name!r}: {why}, leave it out")
        headers = {known: v for known, v in headers.items() if known.lower() != name.lower()}
        headers[name] = _VARIABLE.sub(lambda found, name=name: _variable(found[1], f"headers.{name}"), value)  # type: ignore[misc]
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"the value of header {name} has characters that a header cannot have: take them out")
    return headers


def head(target: Target, model: str, headers: dict[str, str]) -> bytes:
    """The request line and headers, up to where the length of the body goes."""
    method, path = target.raw.method if target.raw is not None else "POST", path_of(target, model)
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError(f"path is {path!r}: write characters that are not ASCII, and spaces, as %XX")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: ".encode()


def has_key(target: Target) -> bool:
    """Whether any credential is sent."""
    sent = {name.lower() for name in target.headers}
    named = target.key_env is not None or target.key_file is not None or "@" in urlsplit(target.url).netloc
    return named or not sent.isdisjoint(("authorization", "api-key", "x-api-key"))


def _credentials(target: Target, parts: SplitResult) -> dict[str, str]:
    key = key_of(target)
    if key is None:
        if parts.username is None:
            return {}
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if target.key_header is not None:
        return {target.key_header: key}
    bearer = {"Authorization": f"Bearer {key}"}
    if target.api != "messages":
        return bearer
    # Anthropic's SDK sends a bearer token since its version 2; what else has this API may look for the older header.
    return bearer if (parts.hostname or "").endswith("anthropic.com") else {**bearer, "x-api-key": key}


def key_of(target: Target) -> str | None:
    """What opens the door; None: nothing is sent. Raises ValueError where it is named and cannot be had."""
    if target.key_env is not None:
        key = _variable(target.key_env, "key_env").strip()
    elif target.key_file is not None:
        try:
            key = user_path(target.key_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ValueError(f"key_file is {target.key_file!r}: {why}; name a file that holds the key alone") from error
    else:
        return None
    if not key:
        raise ValueError(f"{'key_env' if target.key_env else 'key_file'} names an empty key: put the key there")
    return key


def _variable(name: str, field: str) -> str:
    if name not in os.environ:
        raise ValueError(f"{field} is taken from {name}, and there is no such variable in the environment: set it")
    return os.environ[name]
