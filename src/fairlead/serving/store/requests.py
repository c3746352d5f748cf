"""Requests to a registry: logging in, following redirects, trying again, within limits of time.

Tokens as the distribution project describes them (docs/spec/auth/token.md, oauth.md): a 401 names realm, service and
scope; the realm hands out a bearer token, to anybody or against the login.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

from fairlead.kube.backoff import Backoff
from fairlead.serving.store.connections import Answer, Pool, Settings, base_url, origin, start
from fairlead.serving.store.errors import Crawling, Denied, NotFound, StoreError, Unreachable
from fairlead.serving.store.logins import Login
from fairlead.serving.store.repository import BUFFER_BYTES, Cancel, InMemory, Source

_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_MOST_REDIRECTS = 5
_ERROR_BYTES = 64 << 10
BROKEN = (OSError, http.client.HTTPException)
"""What a connection that fails raises: cut, silent, refused, no HTTP."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a request sends: bytes [offset, offset + size) of a source."""

    source: Source
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that was read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Failed(StoreError):
    """A status that was not expected; `status` for those who can do something about it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Open:
    """A response whose body is read piece by piece. Raises Unreachable if it breaks off, Crawling if it crawls."""

    def __init__(self, pool: Pool, url: str, connection: http.client.HTTPConnection, answer: Answer) -> None:
        self.url, self.answer = url, answer
        self._pool, self._connection = pool, connection
        self._since_s = pool.settings.clock.monotonic_s()
        self._bytes = 0

    @property
    def status(self) -> int:
        return self.answer.status

    def readinto(self, into: memoryview) -> int:
        try:
            count = self.answer.take(into)
        except BROKEN as error:
            raise Unreachable(f"{self.url}: {told(error)}") from error
        self._check_speed(count)
        return count

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises StoreError beyond `limit` bytes."""
        parts, room, size = [], memoryview(bytearray(min(limit + 1, BUFFER_BYTES))), 0
        while count := self.readinto(room):
            parts.append(bytes(room[:count]))
            size += count
            if size > limit:
                raise StoreError(
                    f"{self.url}: the answer is longer than {limit} bytes, which nothing asked for here is"
                )
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the body is at its end, else drop it."""
        if self.answer.isclosed() and not self.answer.will_close:
            self._pool.give_back(self.url, self._connection)
        else:
            self._pool.drop(self._connection)

    def _check_speed(self, count: int) -> None:
        settings = self._pool.settings
        self._bytes += count
        now_s = settings.clock.monotonic_s()
        passed_s = now_s - self._since_s
        if passed_s >= settings.silence_s:
            if self._bytes < settings.least_bytes_per_s * passed_s:
                raise Crawling(f"{self.url}: only {self._bytes} bytes in {passed_s:.3g} s")
            self._since_s, self._bytes = now_s, 0


class Requests:
    """One repository's conversation with its registry. Used by many threads."""

    def __init__(self, pool: Pool, host: str, repository: str, cancel: Cancel) -> None:
        self.settings: Settings = pool.settings
        self.cancel = cancel
        self._pool, self._host, self._repository = pool, host, repository
        self._backoff = Backoff(first_s=self.settings.first_wait_s, max_s=self.settings.longest_wait_s)
        self._authorizations: dict[str, str] = {}
        self._login: Login | None = None
        self._lock = threading.Lock()
        self.base = base_url(host, self.settings)
        self._home = origin(self.base)

    def call(
        self,
        method: str,
        url: str,
        ok: Collection[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        limit: int = 1 << 20,
        attempts: int | None = None,
    ) -> Reply:
        """Ask, and read the answer whole. Statuses beyond `ok` raise: NotFound, Denied or Failed.

        What may pass (a broken connection, 429, 5xx) is tried again, up to `attempts` times.
        """
        response = self.open(method, url, ok, headers=headers, body=body, attempts=attempts)
        try:
            content = b"" if method == "HEAD" else response.read_all(limit)
            return Reply(response.status, _lowered(response.answer), content, response.url)
        finally:
            response.close()

    def open(
        self,
        method: str,
        url: str,
        ok: Collection[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        attempts: int | None = None,
    ) -> Open:
        """Ask, and leave the body to the caller, who must close it."""
        most = attempts or self.settings.attempts
        for attempt in range(1, most + 1):
            self.cancel.check()
            try:
                response = self._authorized(method, url, headers or {}, body)
            except BROKEN as error:
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise Unreachable(
                        f"{url}: {error.verify_message}; --ca-file names an authority to trust"
                    ) from error
                if attempt == most:
                    raise Unreachable(f"{url}: {told(error)}, {_times(attempt)}") from error
                self.cancel.sleep(self._backoff.delay_s(attempt))
                continue
            if response.status in ok:
                return response
            wait_s = self._pause_s(response.answer, attempt)
            said = self._refusal(response)
            if response.status not in _TRANSIENT or attempt == most:
                self._refuse(method, url, response.status, said)
            self.cancel.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _pause_s(self, answer: Answer, attempt: int) -> float:
        wanted = answer.headers.get("Retry-After", "").strip()
        if wanted.isdecimal():
            return min(float(wanted), self.settings.longest_wait_s)
        try:
            at_s = email.utils.parsedate_to_datetime(wanted).timestamp()
        except (ValueError, TypeError):
            return self._backoff.delay_s(attempt)
        return min(max(0.0, at_s - self.settings.clock.wall_s()), self.settings.longest_wait_s)

    def _authorized(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Open:
        """One request, with redirects followed, and once more with a fresh login if it is refused without one."""
        scope = "pull" if method in ("GET", "HEAD") else "pull,push"
        scope = "pull,push,delete" if method == "DELETE" else scope
        for fresh in (False, True):
            response = self._redirected(method, url, headers, body, scope)
            if response.status != 401 or fresh or origin(response.url) != self._home:
                return response
            challenge = response.answer.headers.get_all("WWW-Authenticate") or []
            response.read_all(_ERROR_BYTES)
            response.close()
            self._log_in(challenge, scope)
        raise AssertionError("the second round returns")

    def _redirected(self, method: str, url: str, headers: Mapping[str, str], body: Body | None, scope: str) -> Open:
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._once(method, url, headers, body, scope)
            target = response.answer.headers.get("Location")
            if response.status not in _REDIRECTS or not target or method not in ("GET", "HEAD"):
                return response
            response.close()
            following = urljoin(url, target)
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                raise Denied(f"{url}: sends on to {following}, which is not encrypted; refused")
            url = following
        raise Unreachable(f"{url}: sends on more than {_MOST_REDIRECTS} times")

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body | None, scope: str) -> Open:
        sent = {"User-Agent": "fairlead", "Accept-Encoding": "identity", **headers}
        # Only the registry itself learns the login: what it redirects to (an object store) has its own way.
        if origin(url) == self._home and (authorization := self._authorizations.get(scope)):
            sent["Authorization"] = authorization
        if body is not None or method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = str(body.size if body else 0)
        connection = self._pool.take(url)
        reused = connection.sock is not None
        try:
            return self._exchange(connection, method, url, sent, body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if not reused:
                raise
            # An idle connection that the server had closed meanwhile says nothing about the server.
            connection = self._pool.take(url, fresh=True)
            return self._exchange(connection, method, url, sent, body)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, url: str, sent: Mapping[str, str], body: Body | None
    ) -> Open:
        try:
            start(connection, method, url, sent)
            if body is not None:
                self._send(connection, body)
            answer = connection.getresponse()
        except BaseException:
            self._pool.drop(connection)
            raise
        assert isinstance(answer, Answer)
        if method == "HEAD":
            answer.close()
        return Open(self._pool, url, connection, answer)

    def _send(self, connection: http.client.HTTPConnection, body: Body) -> None:
        room = memoryview(bytearray(min(BUFFER_BYTES, max(body.size, 1))))
        at = body.offset
        end = at + body.size
        while at < end:
            self.cancel.check()
            count = body.source.read_at(at, room[: min(len(room), end - at)])
            if count == 0:
                raise StoreError(f"the file became shorter while it was pushed: nothing at byte {at} of {end}")
            try:
                connection.sock.sendall(room[:count])
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses says so before it hangs up; the answer is worth more than the broken pipe.
                return
            at += count

    def _log_in(self, challenges: list[str], scope: str) -> None:
        with self._lock:
            if self._login is None:
                self._login = self.settings.logins.find(self._host, self._repository)
            login = self._login
        for challenge in challenges:
            scheme, parameters = parse_challenge(challenge)
            if scheme == "bearer" and "realm" in parameters:
                self._authorizations[scope] = "Bearer " + self._token(parameters, login, scope)
                return
            if scheme == "basic":
                if not login.username:
                    raise Denied(f"{self._host} wants a login: `docker login {self._host}`, or --username")
                self._authorizations[scope] = login.basic
                return
        raise Denied(f"{self._host} refuses without naming a way to log in that is known here (Basic, Bearer)")

    def _token(self, parameters: Mapping[str, str], login: Login, actions: str) -> str:
        realm = parameters["realm"]
        if login and self._home[0] == "https" and urlsplit(realm).scheme != "https":
            raise Denied(f"{self._host} wants the login sent to {realm}, which is not encrypted; refused")
        # A mount needs two repositories at once; the challenge names both.
        scopes = (parameters.get("scope") or f"repository:{self._repository}:{actions}").split()
        said = self._ask_realm(realm, parameters.get("service", ""), scopes, login)
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token:
            raise Denied(f"{realm} gave no token")
        return token

    def _ask_realm(self, realm: str, service: str, scopes: list[str], login: Login) -> dict[str, Any]:
        headers: dict[str, str] = {}
        body: Body | None = None
        named = {"service": service} if service else {}
        query = [*named.items(), *(("scope", scope) for scope in scopes)]
        method, url = "GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        if login.identity_token:
            form = {
                **named,
                "scope": " ".join(scopes),
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token,
                "client_id": "fairlead",
            }
            raw = urlencode(form).encode()
            method, url, body = "POST", realm, Body(InMemory(raw), 0, len(raw))
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif login:
            headers["Authorization"] = login.basic
        response = self._once(method, url, headers, body, "none")
        try:
            raw_answer = response.read_all(1 << 20)
        finally:
            response.close()
        if response.status in (401, 403):
            who = f"the login of {login.username or 'the token'}" if login else "anonymous access"
            raise Denied(f"{self._host} refuses {who} to {self._repository}: `docker login {self._host}` again")
        if response.status != 200:
            raise Failed(f"{realm}: status {response.status} instead of a token", response.status)
        try:
            said = json.loads(raw_answer)
        except ValueError as error:
            raise Denied(f"{realm} gave no token: not JSON") from error
        return said if isinstance(said, dict) else {}

    def _refusal(self, response: Open) -> str:
        """What the registry says in the body of an error (distribution specification, "Error Codes")."""
        try:
            raw = response.read_all(_ERROR_BYTES)
        except StoreError:
            return ""
        finally:
            response.close()
        try:
            first = json.loads(raw)["errors"][0]
            return ": ".join(str(first[key]) for key in ("code", "message") if first.get(key))
        except (ValueError, LookupError, TypeError, AttributeError):
            return ""

    def _refuse(self, method: str, url: str, status: int, said: str) -> NoReturn:
        what = f"{method} {url}: {status}" + (f" ({said})" if said else "")
        if status == 404:
            raise NotFound(what)
        if status == 401 and self._login:
            raise Denied(f"{self._host} refuses the login of {self._login.username or 'the token'}: {what}")
        if status in (401, 403):
            raise Denied(f"{what}; `docker login {self._host}` with a login that may do this on {self._repository}")
        raise Failed(what, status)


def parse_challenge(text: str) -> tuple[str, dict[str, str]]:
    """Scheme (lower case) and parameters of one WWW-Authenticate header (RFC 9110, section 11.6.1)."""
    scheme, _, rest = text.strip().partition(" ")
    found = re.findall(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', rest)
    return scheme.lower(), {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in found}


def told(error: BaseException) -> str:
    """A connection's failure in words."""
    if isinstance(error, TimeoutError):
        return "silent for too long"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection broke off, {error.expected} bytes short"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "the connection broke off"
    if isinstance(error, socket.gaierror):
        return f"this host is not known ({error.strerror})"
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return "no TLS is spoken there; --plain-http if that is meant"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, http.client.HTTPException):
        return f"no HTTP answer ({type(error).__name__}: {error})"
    return str(error) or type(error).__name__


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times in a row"


def _lowered(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}
