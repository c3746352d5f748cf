"""Where the API server is and how to prove who we are: kubeconfig files, in-cluster service accounts.

`Credentials.load()` looks in the order of kubectl: an explicit path, `$KUBECONFIG` (several files merge, the first
mention of a name wins), `~/.kube/config`, then the service account of the pod that we run in.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from fairlead.kube.authorization import (
    Authorization,
    CredentialsError,
    FileAuthorization,
    FixedAuthorization,
    PluginAuthorization,
)

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILE_FIELDS: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API server's address with the TLS context and authorization to use for it."""

    server: str
    """Base URL without a trailing slash."""
    tls: ssl.SSLContext | None = None
    authorization: Authorization = field(default_factory=FixedAuthorization)
    namespace: str = "default"
    """The namespace of the kubeconfig context or of our own pod."""
    tls_server_name: str | None = None
    proxy: str | None = None

    @staticmethod
    def load(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> Credentials:
        """Credentials from a kubeconfig or the cluster that we run in. Raises CredentialsError."""
        if kubeconfig is not None:
            return Credentials.from_kubeconfig([Path(kubeconfig).expanduser()], context)
        paths = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
        if paths:
            return Credentials.from_kubeconfig(paths, context)
        default = Path.home() / ".kube" / "config"
        if default.exists():
            return Credentials.from_kubeconfig([default], context)
        if os.environ.get("KUBERNETES_SERVICE_HOST") and (_SERVICE_ACCOUNT / "token").exists():
            return Credentials.in_cluster()
        raise CredentialsError(f"no kubeconfig: set KUBECONFIG or create {default}")

    @staticmethod
    def from_kubeconfig(paths: Iterable[Path], context: str | None = None) -> Credentials:
        """Credentials of a context (by default the current one) of merged kubeconfig files."""
        config = _merge([_read(path) for path in paths])
        chosen = context or config["current-context"]
        if not chosen:
            raise CredentialsError("the kubeconfig has no current-context: name a context")
        entry = _entry(config, "contexts", "context", chosen)
        cluster = _entry(config, "clusters", "cluster", str(entry.get("cluster", "")))
        user = _entry(config, "users", "user", str(entry["user"])) if entry.get("user") else {}
        server = str(cluster.get("server", "")).rstrip("/")
        if not urlsplit(server).netloc:
            raise CredentialsError(f"context {chosen}: cluster {entry.get('cluster')} has no server URL")
        tls = _tls_context(cluster, user) if server.startswith("https") else None
        return Credentials(
            server=server,
            tls=tls,
            authorization=_authorization(config, chosen, user, tls),
            namespace=str(entry.get("namespace") or "default"),
            tls_server_name=cluster.get("tls-server-name"),
            proxy=cluster.get("proxy-url"),
        )

    @staticmethod
    def in_cluster(directory: Path = _SERVICE_ACCOUNT) -> Credentials:
        """Credentials of the service account that the kubelet mounted into our pod."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise CredentialsError("KUBERNETES_SERVICE_HOST is not set: not running in a cluster")
        namespace = directory / "namespace"
        return Credentials(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            tls=_tls_context({"certificate-authority": str(directory / "ca.crt")}, {}),
            authorization=FileAuthorization(directory / "token"),
            namespace=namespace.read_text().strip() if namespace.exists() else "default",
        )


def _read(path: Path) -> dict[str, Any]:
    """One kubeconfig, with the paths in it made absolute."""
    try:
        config = yaml.load(path.read_bytes(), Loader=_Loader)
    except OSError as error:
        raise CredentialsError(f"kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CredentialsError(f"kubeconfig {path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise CredentialsError(f"kubeconfig {path} is not a mapping")
    base = path.absolute().parent
    for section, inner in (("clusters", "cluster"), ("users", "user")):
        for item in config.get(section) or ():
            body = item.get(inner) or {}
            for name in _FILE_FIELDS:
                if body.get(name):
                    body[name] = str(base / body[name])
            command = (body.get("exec") or {}).get("command", "")
            if os.sep in command:
                body["exec"]["command"] = str(base / command)
    return config


def _merge(configs: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": ""}
    for config in configs:
        merged["current-context"] = merged["current-context"] or config.get("current-context") or ""
        for section in ("clusters", "users", "contexts"):
            items = merged.setdefault(section, [])
            known = {item["name"] for item in items}
            items += [item for item in config.get(section) or () if item.get("name") not in known]
    return merged


def _entry(config: Mapping[str, Any], section: str, inner: str, name: str) -> dict[str, Any]:
    for item in config[section]:
        if item.get("name") == name:
            return item.get(inner) or {}
    known = ", ".join(sorted(str(item.get("name")) for item in config[section])) or "none"
    raise CredentialsError(f"the kubeconfig has no {inner} {name!r} (it has: {known})")


def _authorization(
    config: Mapping[str, Any], context: str, user: Mapping[str, Any], tls: ssl.SSLContext | None
) -> Authorization:
    if user.get("exec") or user.get("auth-provider"):
        return PluginAuthorization(config, context, tls)
    if user.get("token"):
        return FixedAuthorization.bearer(str(user["token"]))
    if user.get("tokenFile"):
        return FileAuthorization(Path(user["tokenFile"]))
    if user.get("username") and user.get("password"):
        return FixedAuthorization.basic(str(user["username"]), str(user["password"]))
    return FixedAuthorization()


def _tls_context(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    # Cluster authorities often lack the extensions that RFC 5280 asks for and newer Pythons insist on.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _content(user, "client-certificate"), _content(user, "client-key")
    if certificate and key:
        # The ssl module reads key pairs from files only; this one exists for the moment of reading.
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(certificate + b"\n" + key)
            pair.flush()
            try:
                context.load_cert_chain(pair.name)
            except ssl.SSLError as error:
                raise CredentialsError(f"client certificate and key do not match: {error}") from error
    return context


def _content(section: Mapping[str, Any], name: str) -> bytes | None:
    """What `name-data` holds inline or `name` points to."""
    inline = section.get(f"{name}-data")
    try:
        if inline:
            return base64.b64decode(inline)
        return Path(section[name]).read_bytes() if section.get(name) else None
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{name}: {error}") from error
