"""The root CA that pods get is the one by which we know the API server, wherever our kubeconfig was found."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from fairlead.clock import SYSTEM
from fairlead.embedded.apiserver.credentials import load_or_create, write_kubeconfig
from fairlead.embedded.controllers.tenancy import root_ca_of
from fairlead.kube.credentials import Credentials


def test_it_comes_from_whatever_kubeconfig_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_or_create(tmp_path / "apiserver", "127.0.0.1", SYSTEM)
    write_kubeconfig(tmp_path / "kubeconfig", made, "https://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    named = root_ca_of(Credentials.load(tmp_path / "kubeconfig"))
    assert root_ca_of(Credentials.load()) == named
    assert ssl.PEM_cert_to_DER_cert(named)


def test_a_server_without_tls_has_none() -> None:
    assert root_ca_of(Credentials("http://127.0.0.1:1")) == ""
