"""A driver killed (SIGKILL) before every change that it makes to an interface, and what its successor undoes.

Against the kernel, in a network namespace of its own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from devices.vendors.network.test_links import pytestmark as needs_namespaces

pytestmark = needs_namespaces
TESTS = Path(__file__).parents[3]


def run(folder: Path, script: str) -> Any:
    """Run a script in a new namespace with interface v0 (MTU 1500, an address of its own) on a rail of a server whose
    files are below the folder; it prints JSON."""
    head = """
        import json, os, signal, subprocess, sys
        from pathlib import Path
        from devices.vendors.network.hgx_tree import HgxServer, rail_bus_id, rail_chain
        from fairlead.devices.vendor import ClaimReference, Grant
        from fairlead.devices.vendors.network import links
        from fairlead.devices.vendors.network.facts import NetworkPort
        from fairlead.devices.vendors.network.vendor import NetworkVendor

        folder = Path(sys.argv[1])
        server = HgxServer(folder / "host", rails=1, infiniband=False)
        function = f"/sys/devices/{rail_chain(0)}"
        server.take_interface(function, "ens10np0")
        server.interface(function, "v0")
        rail = NetworkPort.name_of(rail_bus_id(0))
        claim = ClaimReference("team", "model", "uid-1")
        config = {"interface": {"name": "net1", "mtu": 9000, "addresses": ["10.7.0.5/24", "fd00::5/64"]}}

        def ip(*arguments):
            done = subprocess.run(["ip", "-j", *arguments], capture_output=True, check=True)
            return json.loads(done.stdout or "null")

        def start():
            return NetworkVendor(server.host, state_folder=folder / "state")

        def prepare(kill_at):
            # In a process that kills itself right before its n-th change; says whether it lived to the end.
            pid = os.fork()
            if pid == 0:
                vendor, made, real = start(), 0, links._call
                device = vendor.probe().find(rail)
                def call(*arguments):
                    nonlocal made
                    made += 1
                    if made == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    real(*arguments)
                links._call = call
                vendor.prepare(claim, [Grant(device=device, request="nic", config=(config,))])
                os._exit(0)
            return os.waitpid(pid, 0)[1] == 0

        def shown():
            (link,) = [link for link in ip("address", "show") if link["ifname"] in ("v0", "net1")]
            addresses = sorted(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global")
            return [link["ifname"], link["mtu"], addresses]

        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip("address", "add", "10.1.0.1/16", "dev", "v0")
    """
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_whatever_a_killed_driver_had_changed_is_undone_when_its_claim_is_given_back(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        left, undone, number = [], [], 0
        while True:
            number += 1
            lived = prepare(number)
            left.append(shown())
            vendor = start()
            vendor.resume({"uid-1": [rail]})
            vendor.probe()
            assert shown() == left[-1], "its claim still has it"
            vendor.release(claim, [rail])
            undone.append(shown())
            assert not list((folder / "state").iterdir())
            if lived:
                break
        print(json.dumps([left, undone]))
    """,
    )
    left, undone = found
    own = ["10.1.0.1/16"]
    assert left == [
        ["v0", 1500, own],
        ["v0", 9000, own],
        ["v0", 9000, [*own, "10.7.0.5/24"]],
        ["v0", 9000, [*own, "10.7.0.5/24", "fd00::5/64"]],
    ]
    assert undone == [["v0", 1500, own]] * 4


def test_an_interface_that_a_runtime_renamed_comes_back_to_a_driver_that_did_not_know_it(tmp_path: Path) -> None:
    """The driver is killed while the pod runs, and the claim is given back before the next one starts."""
    found = run(
        tmp_path,
        """
        assert prepare(0)
        server.take_interface(function, "v0")
        ip("link", "set", "v0", "name", "net1")
        server.interface(function, "net1")
        vendor = start()
        vendor.probe()
        print(json.dumps([shown(), list(map(str, (folder / "state").iterdir()))]))
    """,
    )
    assert found == [["v0", 1500, ["10.1.0.1/16"]], []]


def test_a_driver_that_may_not_undo_says_what_stays(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        import logging
        said = []
        class Heard(logging.Handler):
            def emit(self, record):
                said.append(record.getMessage())
        logging.getLogger("fairlead.devices.network").addHandler(Heard())
        assert prepare(0)
        ip("link", "del", "v0")
        vendor = start()
        vendor.probe()
        print(json.dumps([line for line in said if "cannot be made" in line]))
    """,
    )
    (line,) = found
    assert "interface v0 cannot be made v0 again (MTU 1500, without 10.7.0.5/24, fd00::5/64)" in line
