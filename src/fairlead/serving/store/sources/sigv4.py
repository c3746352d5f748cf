"""AWS Signature Version 4 for requests without a body. Pure.

Source: "Authenticating Requests: Using the Authorization Header" of the Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """`token` is for temporary ones."""

    access_key: str
    secret_key: str
    token: str = ""


def encode_path(path: str) -> str:
    """An object's key as it stands in a signed URL: `/` stays."""
    return quote(path, safe="/-_.~")


def encode_query(parameters: Mapping[str, str]) -> str:
    """Sorted, so that the URL and what is signed are the same text."""
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parameters.items())
    return "&".join(f"{k}={v}" for k, v in pairs)


def sign(
    method: str, url: str, headers: Mapping[str, str], keys: Keys, region: str, wall_s: float, service: str = "s3"
) -> dict[str, str]:
    """`headers` with those of the signature. The URL has to be encoded by the functions above."""
    stamp = datetime.fromtimestamp(int(wall_s), UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    signed = {**headers, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    canonical = {"host": parts.netloc, **{name.lower(): " ".join(value.split()) for name, value in signed.items()}}
    names = ";".join(sorted(canonical))
    request = "\n".join(
        [
            method,
            parts.path or "/",
            parts.query,
            *(f"{name}:{canonical[name]}" for name in sorted(canonical)),
            "",
            names,
            EMPTY_SHA256,
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**signed, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}
