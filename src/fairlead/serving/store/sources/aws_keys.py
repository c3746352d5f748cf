"""Where keys for S3 come from: settings, a web identity token (IRSA), or a container's credentials endpoint.

In the order of the AWS SDKs. Keys that expire are asked for again before they do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import msgspec

from fairlead.clock import Clock, parse_time
from fairlead.serving.store.sources.errors import BadSource, Denied
from fairlead.serving.store.sources.http import Answered, HttpReader, Request
from fairlead.serving.store.sources.sigv4 import Keys, encode_query

_RENEW_BEFORE_S = 300.0
_LINK_LOCAL = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})


class _Given(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str = ""
    expiration: str = ""


class AwsKeys:
    """Call `get` before each signature. None: requests go unsigned, as public buckets take them."""

    def __init__(self, settings: Mapping[str, str], http: HttpReader, clock: Clock) -> None:
        self._settings, self._http, self._clock = settings, http, clock
        self._keys: Keys | None = None
        self._until_s: float | None = 0.0

    @property
    def are_there(self) -> bool:
        names = (
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        )
        return any(self._settings.get(name) for name in names) and not self._is_anonymous

    @property
    def _is_anonymous(self) -> bool:
        return self._settings.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "true", "yes")

    async def get(self) -> Keys | None:
        """Raises Denied, BadSource, Unreachable."""
        if not self.are_there:
            return None
        if self._until_s is not None and self._clock.wall_s() > self._until_s - _RENEW_BEFORE_S:
            await self._renew()
        return self._keys

    async def _renew(self) -> None:
        settings = self._settings
        if settings.get("AWS_ACCESS_KEY_ID"):
            secret = settings.get("AWS_SECRET_ACCESS_KEY", "")
            if not secret:
                raise BadSource("AWS_ACCESS_KEY_ID is there, AWS_SECRET_ACCESS_KEY is not")
            self._keys = Keys(settings["AWS_ACCESS_KEY_ID"], secret, settings.get("AWS_SESSION_TOKEN", ""))
            self._until_s = None
            return
        try:
            given = await (self._web_identity() if settings.get("AWS_WEB_IDENTITY_TOKEN_FILE") else self._container())
        except Answered as error:
            raise Denied(f"no keys for S3: {error}") from error
        self._keys = Keys(given.access_key_id, given.secret_access_key, given.token)
        self._until_s = parse_time(given.expiration) if given.expiration else None

    async def _web_identity(self) -> _Given:
        settings = self._settings
        region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION") or ""
        endpoint = settings.get("AWS_ENDPOINT_URL_STS") or (
            f"https://sts.{region}.amazonaws.com" if region else "https://sts.amazonaws.com"
        )
        query = encode_query(
            {
                "Action": "AssumeRoleWithWebIdentity",
                "Version": "2011-06-15",
                "RoleArn": settings.get("AWS_ROLE_ARN", ""),
                "RoleSessionName": settings.get("AWS_ROLE_SESSION_NAME") or "fairlead",
                "WebIdentityToken": _read(settings["AWS_WEB_IDENTITY_TOKEN_FILE"]),
            }
        )
        answer = await self._http.fetch(lambda headers: Request(f"{endpoint}/?{query}", headers=headers))
        found = {e.tag.rpartition("}")[2]: e.text or "" for e in _parse(answer.body).iter()}
        try:
            return _Given(
                found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], found.get("Expiration", "")
            )
        except KeyError as error:
            raise Denied(f"no keys for S3: {endpoint} answered without {error}") from error

    async def _container(self) -> _Given:
        settings = self._settings
        relative = settings.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
        url = f"http://169.254.170.2{relative}" if relative else settings["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        host = urlsplit(url).hostname or ""
        if urlsplit(url).scheme != "https" and not (host in _LINK_LOCAL or _is_loopback(host)):
            raise BadSource(f"AWS_CONTAINER_CREDENTIALS_FULL_URI {url!r}: keys come over https or from this host only")
        token = settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = _read(settings["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
        own = {"Authorization": token} if token else {}
        answer = await self._http.fetch(lambda headers: Request(url, headers=headers, host_headers=own))
        try:
            return msgspec.json.decode(answer.body, type=_Given)
        except msgspec.DecodeError as error:
            raise Denied(f"no keys for S3: the answer of {url} cannot be read: {error}") from error


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise BadSource(f"no keys for S3: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Denied(f"no keys for S3: the answer cannot be read: {error}") from error
