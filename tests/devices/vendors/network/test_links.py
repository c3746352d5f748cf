"""Against the kernel, in a network namespace of its own."""

import json
import shutil
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from patience import PATIENCE_S


def _can_unshare() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    command = ["unshare", "-Urn", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _can_unshare(), reason="needs unshare(1) for network namespaces, and ip(8)")


def run(script: str) -> Any:
    """Run a script in a new namespace with interfaces v0 and v1; it prints JSON."""
    head = """
        import errno, json, subprocess
        from fairlead.devices.vendors.network.links import NetlinkLinks
        links = NetlinkLinks()
        def ip(*arguments):
            done = subprocess.run(["ip", "-j", *arguments], capture_output=True, check=True)
            return json.loads(done.stdout or "null")
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_interface_gets_its_mtu_and_addresses_again_and_again() -> None:
    found = run("""
        for _ in range(2):
            links.configure("v0", 9000, ["10.7.0.5/24", "fd00::5/64"])
        shown = ip("address", "show", "dev", "v0")[0]
        print(json.dumps([shown["mtu"], "UP" in shown["flags"], sorted(links.addresses("v0"))]))
    """)
    assert found == [9000, False, ["10.7.0.5/24", "fd00::5/64"]]


def test_an_interface_that_is_up_is_taken_down_and_brings_no_route() -> None:
    found = run("""
        ip("link", "set", "v0", "up")
        ip("link", "set", "v1", "up")
        links.configure("v0", None, ["10.7.0.5/24"])
        print(json.dumps([ip("route", "show") or [], ip("link", "show", "v0")[0]["mtu"], links.addresses("v0")]))
    """)
    assert found == [[], 1500, ["10.7.0.5/24"]]


def test_addresses_of_the_link_alone_are_not_told() -> None:
    found = run("""
        ip("address", "add", "10.7.0.9/24", "dev", "v0", "scope", "link")
        ip("address", "add", "10.8.0.9/16", "dev", "v1")
        print(json.dumps([links.addresses("v0"), links.addresses("v1"), links.has("v0"), links.has("v9")]))
    """)
    assert found == [[], ["10.8.0.9/16"], True, False]


def test_an_interface_gets_its_name_back() -> None:
    found = run("""
        ip("link", "set", "v0", "up")
        links.rename("v0", "ens10np0")
        print(json.dumps([links.has("v0"), links.has("ens10np0")]))
    """)
    assert found == [False, True]


def test_errors_of_the_kernel() -> None:
    found = run("""
        codes = []
        for call in (
            lambda: links.configure("v9", 1500, []),
            lambda: links.configure("v0", 70000, []),
            lambda: links.rename("v0", "v1"),
            lambda: links.addresses("v9"),
        ):
            try:
                call()
                codes.append(None)
            except OSError as error:
                codes.append(errno.errorcode.get(error.errno))
        print(json.dumps(codes))
    """)
    assert found == ["ENODEV", "EINVAL", "EEXIST", "ENODEV"]
