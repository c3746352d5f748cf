"""Who logs in where: Docker's config.json with its helpers, a Kubernetes pull secret, or one login given by hand.

The file's format is Docker's (`docker login`, also read by skopeo, oras and the kubelet): `auths` by registry,
`credHelpers` by registry, `credsStore` for all. A Secret of the type kubernetes.io/dockerconfigjson holds the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.serving.store.errors import Denied

_HELPER_LIMIT_S = 30.0
# Under these names Docker keeps the login of its hub, which answers as registry-1.docker.io.
_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Login:
    """A name and password, or a refresh token (`identity_token`) of an OAuth2 registry. All empty: anonymous."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token)

    def __repr__(self) -> str:
        return f"Login({self.username!r}, …)" if self else "Login()"

    @property
    def basic(self) -> str:
        """Value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Logins:
    """Logins by host and repository. Several documents: the first that knows one counts."""

    def __init__(self, documents: Sequence[tuple[str, Mapping[str, Any]]] = (), fixed: Login | None = None) -> None:
        self._documents, self._fixed = documents, fixed

    def find(self, host: str, repository: str) -> Login:
        """The login for a repository: the entry with the longest matching path. Raises Denied if a helper fails."""
        if self._fixed is not None:
            return self._fixed
        for where, document in self._documents:
            helper = _helper(document, host)
            if helper and (login := _ask_helper(helper, host)):
                return login
            if entry := _entry(document.get("auths") or {}, host, repository):
                return _parse_entry(entry, where)
        return Login()


def default_logins(config: Path | None = None) -> Logins:
    """Logins as Docker, podman and skopeo keep them on this machine.

    `config` names a file (or the folder with config.json in it) that is read alone; else $DOCKER_CONFIG,
    $REGISTRY_AUTH_FILE, ~/.docker/config.json and podman's auth.json. Raises Denied if a file is broken.
    """
    if config is not None:
        path = config / "config.json" if config.is_dir() else config
        if not path.exists():
            raise Denied(f"{path}: there is no such file of logins")
        return Logins([_read(path)])
    paths = []
    if folder := os.environ.get("DOCKER_CONFIG"):
        paths.append(Path(folder) / "config.json")
    if file := os.environ.get("REGISTRY_AUTH_FILE"):
        paths.append(Path(file))
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        paths.append(Path(runtime) / "containers/auth.json")
    paths.append(Path("~/.docker/config.json").expanduser())
    return Logins([_read(path) for path in paths if path.is_file()])


def secret_logins(secrets: Mapping[str, bytes]) -> Logins:
    """Logins from pull secrets: name of the secret -> its `.dockerconfigjson`. Raises Denied if one is broken."""
    return Logins([(f"secret {name}", _decode(raw, f"secret {name}")) for name, raw in secrets.items()])


def _read(path: Path) -> tuple[str, Mapping[str, Any]]:
    try:
        return str(path), _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise Denied(f"{path}: cannot be read: {error.strerror}") from error


def _decode(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise Denied(f"{where}: not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("auths") or {}, dict):
        raise Denied(f"{where}: not a file of registry logins: an object with `auths` is wanted")
    return document


def _helper(document: Mapping[str, Any], host: str) -> str:
    helpers = document.get("credHelpers") or {}
    for name in _names(host):
        if name in helpers:
            return str(helpers[name])
    return str(document.get("credsStore") or "")


def _ask_helper(helper: str, host: str) -> Login:
    """Docker's helper protocol: the server's name on stdin, JSON on stdout."""
    for name in _names(host):
        try:
            answer = subprocess.run(
                [f"docker-credential-{helper}", "get"],
                input=name.encode(),
                capture_output=True,
                timeout=_HELPER_LIMIT_S,
            )
        except FileNotFoundError as error:
            raise Denied(
                f"docker-credential-{helper} is not installed, but the file of logins asks it for {host}: install it, "
                f"or take credHelpers and credsStore out"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Denied(f"docker-credential-{helper} said nothing about {host} for {_HELPER_LIMIT_S:.0f} s") from error
        if answer.returncode == 0:
            return _parse_helper(answer.stdout, helper)
    # A helper that knows no login says so with its exit status; the registry may take anonymous pulls.
    return Login()


def _parse_helper(raw: bytes, helper: str) -> Login:
    try:
        said = json.loads(raw)
        name, secret = str(said["Username"]), str(said["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise Denied(f"docker-credential-{helper} answers what is no login") from error
    return Login(identity_token=secret) if name == "<token>" else Login(name, secret)


def _names(host: str) -> tuple[str, ...]:
    return _HUB if host in _HUB else (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")


def _entry(auths: Mapping[str, Any], host: str, repository: str) -> Any:
    parts = repository.split("/")
    for n in range(len(parts), 0, -1):
        if entry := auths.get("/".join([host, *parts[:n]])):
            return entry
    return next((auths[name] for name in (*_names(host), f"http://{host}") if auths.get(name)), None)


def _parse_entry(entry: Any, where: str) -> Login:
    if not isinstance(entry, dict):
        raise Denied(f"{where}: an entry of `auths` is no object")
    if token := entry.get("identitytoken"):
        return Login(identity_token=str(token))
    if "username" in entry:
        return Login(str(entry["username"]), str(entry.get("password") or ""))
    try:
        name, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Denied(f"{where}: `auth` is not the base64 of name:password") from error
    return Login(name, password.rstrip("\0"))
