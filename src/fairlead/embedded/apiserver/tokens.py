"""Service account tokens: short-lived JWTs (HS256) that this server issues and recognises."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

import msgspec
from aiohttp import web

from fairlead.clock import Clock

ISSUER = "https://kubernetes.default.svc.cluster.local"


class Tokens:
    """Signs and checks tokens with one key."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, claims: dict[str, Any], lifetime_s: int) -> str:
        """A token with these private claims, valid from now on."""
        now_s = int(self._clock.wall_s())
        body = {
            "iss": ISSUER,
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + lifetime_s,
            "jti": secrets.token_hex(16),
            **claims,
        }
        signed = _encode({"alg": "HS256", "typ": "JWT"}) + "." + _encode(body)
        return f"{signed}.{self._sign(signed)}"

    def user_of(self, token: str) -> str | None:
        """The user of a valid token; None for anything else."""
        claims = self.claims_of(token)
        return str(claims["sub"]) if claims else None

    def claims_of(self, token: str) -> dict[str, Any] | None:
        signed, _, signature = token.rpartition(".")
        if not signed or not hmac.compare_digest(self._sign(signed), signature):
            return None
        try:
            claims: dict[str, Any] = msgspec.json.decode(_decode(signed.partition(".")[2]))
        except (ValueError, msgspec.DecodeError):
            return None
        return claims if claims.get("exp", 0) > self._clock.wall_s() and claims.get("iss") == ISSUER else None

    def _sign(self, text: str) -> str:
        return _base64(hmac.new(self._key, text.encode(), hashlib.sha256).digest())


def _encode(document: dict[str, Any]) -> str:
    return _base64(msgspec.json.encode(document))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


TOKENS = web.AppKey("tokens", Tokens)
"""Where the application keeps the server's tokens."""
