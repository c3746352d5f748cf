"""A configuration as reports may show it: nothing in it that would open a door."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from fairlead.bench.config.benchmark import Benchmark
from fairlead.bench.config.target import Target

HIDDEN = "(not shown)"
_PLAIN_QUERIES = frozenset(("api-version", "api_version", "version", "stream", "alt"))
"""Names in a query that are no secrets, and tell which API it was."""
_SECRET = (
    r"(?:api|access|auth|secret|private|subscription|master)?[-_]?"
    r"(?:key|secret|passw(?:or)?d|credentials?|authorization|(?<![a-z])token|sig|signature)"
)
_NAME = re.compile(rf"(?:.*[-_.])?{_SECRET}", re.IGNORECASE)
_IN_JSON = re.compile(rf'("(?:[\w-]*[-_])?{_SECRET}"\s*:\s*")((?:[^"\\]|\\.)*)(")', re.IGNORECASE)
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"]+")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is likely to hold one: `api_key`, `access-token`, `password`; not `max_tokens`."""
    return _NAME.fullmatch(name) is not None


def shown_url(url: str) -> str:
    """Without user and password, and without the values of its query (keys are put there, too)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    query = "&".join(_shown_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    fragment = HIDDEN if parts.fragment else ""
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, fragment).geturl()


def shown_text(text: str) -> str:
    """With the addresses in it as `shown_url` has them."""
    return _ADDRESS.sub(lambda found: shown_url(found[0]), text)


def shown_config(config: Benchmark) -> dict[str, object]:
    """Headers without values, addresses without credentials, fields of bodies whose name says that they are secret."""
    shown: dict[str, Any] = msgspec.to_builtins(config)
    shown["targets"] = [_shown_target(target) for target in config.targets]
    if "server" in shown:
        shown["server"] = _shown(shown["server"])
    return shown


def _shown_target(target: Target) -> dict[str, object]:
    shown: dict[str, Any] = msgspec.to_builtins(target)
    shown["url"] = shown_url(target.url)
    if target.path is not None:
        shown["path"] = shown_url(target.path)
    if target.headers:
        shown["headers"] = dict.fromkeys(target.headers, HIDDEN)
    if target.parameters:
        shown["parameters"] = _shown(target.parameters)
    if target.raw is not None:
        shown["raw"] = {**shown["raw"], "body": _IN_JSON.sub(rf"\g<1>{HIDDEN}\g<3>", target.raw.body)}
    return shown


def secrets_in(value: Any) -> list[str]:
    """Texts under names that say that they are secret, and in JSON that is a text (a template)."""
    if isinstance(value, Mapping):
        found = [each for name, each in value.items() if is_secret_name(str(name)) and isinstance(each, str)]
        return found + [secret for each in value.values() for secret in secrets_in(each)]
    if isinstance(value, list | tuple):
        return [secret for each in value for secret in secrets_in(each)]
    return [found[2] for found in _IN_JSON.finditer(value)] if isinstance(value, str) else []


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if isinstance(each, str) and is_secret_name(str(name)) else _shown(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return shown_text(value) if isinstance(value, str) else value


def _shown_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return HIDDEN if pair else ""
    return pair if name.lower() in _PLAIN_QUERIES or not value else f"{name}={HIDDEN}"
