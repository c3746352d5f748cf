"""Who a client says it is: the `Authorization` header, from a fixed token, a rotated file or a credential plugin."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Protocol

from fairlead.clock import SYSTEM, Clock

_FILE_MAX_AGE_S: Final = 60.0
_PLUGIN_MAX_AGE_S: Final = 60.0
_PLUGIN_TIMEOUT_S: Final = 60.0


class CredentialsError(Exception):
    """A kubeconfig, token file or credential plugin that gives no credentials; the message says which and why."""


class Authorization(Protocol):
    """A source of the `Authorization` header."""

    async def header(self) -> str | None:
        """The header's value, or None where the connection alone identifies the client."""
        ...

    async def refused(self) -> bool:
        """Told after an answer 401; True when a new attempt may do better because credentials were renewed."""
        ...


class FixedAuthorization:
    """A header that never changes, or none."""

    def __init__(self, value: str | None = None) -> None:
        self._value = value

    @staticmethod
    def bearer(token: str) -> FixedAuthorization:
        return FixedAuthorization(f"Bearer {token}")

    @staticmethod
    def basic(username: str, password: str) -> FixedAuthorization:
        return FixedAuthorization("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())

    async def header(self) -> str | None:
        return self._value

    async def refused(self) -> bool:
        return False


class FileAuthorization:
    """A bearer token in a file that the kubelet or another process rotates; read again at least every minute."""

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at_s = float("-inf")

    async def header(self) -> str | None:
        if self._clock.monotonic_s() - self._read_at_s >= _FILE_MAX_AGE_S:
            self._read()
        return f"Bearer {self._token}"

    async def refused(self) -> bool:
        before = self._token
        self._read()
        return self._token != before

    def _read(self) -> None:
        try:
            token = self._path.read_text().strip()
        except OSError as error:
            raise CredentialsError(f"token file {self._path}: {error.strerror}") from error
        if not token:
            raise CredentialsError(f"token file {self._path} is empty")
        self._token, self._read_at_s = token, self._clock.monotonic_s()


class PluginAuthorization:
    """An exec plugin or auth provider of a kubeconfig, run by kubernetes_asyncio's loader.

    Credentials are taken up again when they expire or are refused. A plugin may give a client certificate instead of
    a token; it is then loaded into `tls`.
    """

    def __init__(
        self, kubeconfig: Mapping[str, Any], context: str, tls: ssl.SSLContext | None, clock: Clock = SYSTEM
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._tls = tls
        self._clock = clock
        self._loader: Any = None
        self._loaded_at_s = float("-inf")
        self._value: str | None = None
        self._lock = asyncio.Lock()

    async def header(self) -> str | None:
        async with self._lock:
            if self._is_stale():
                await self._load()
            return self._value

    async def refused(self) -> bool:
        async with self._lock:
            before = self._value
            self._loader = None
            await self._load()
            return self._value != before or self._value is None

    def _is_stale(self) -> bool:
        if self._loader is None:
            return True
        expiry = getattr(self._loader, "exec_plugin_expiry", None)
        if expiry is not None:
            return bool(expiry.timestamp() - self._clock.wall_s() < 30)
        if self._loader.provider is None:
            return False
        return self._clock.monotonic_s() - self._loaded_at_s >= _PLUGIN_MAX_AGE_S

    async def _load(self) -> None:
        # Imported here because it pulls in some 800 modules that no other path needs.
        from kubernetes_asyncio.config.kube_config import KubeConfigLoader

        if self._loader is None:
            self._loader = KubeConfigLoader(dict(self._kubeconfig), active_context=self._context, config_base_path="")
        found = SimpleNamespace(api_key={}, cert_file=None, key_file=None)
        try:
            async with asyncio.timeout(_PLUGIN_TIMEOUT_S):
                await self._loader.load_and_set(found)
        except TimeoutError as error:
            raise CredentialsError(f"context {self._context}: the credential plugin did not answer") from error
        except Exception as error:
            raise CredentialsError(f"context {self._context}: {error}") from error
        self._loaded_at_s = self._clock.monotonic_s()
        self._value = found.api_key.get("BearerToken")
        if found.cert_file and self._tls is not None:
            self._tls.load_cert_chain(found.cert_file, found.key_file)
