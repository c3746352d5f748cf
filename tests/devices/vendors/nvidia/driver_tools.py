"""Stand-ins for the tools of the driver, which only run beside its kernel module: real programs that keep to the
documented command lines, pipes and answers, and write down what they were asked."""

from __future__ import annotations

import sys
from pathlib import Path

_MPS = """#!{python} -S
import os, signal, socket, sys
pipe, log = os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]
path = os.path.join(pipe, "control")

def serve():
    if os.path.exists(os.path.join(log, "deaf")):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.path.exists(os.path.join(log, "refuse")):
        sys.exit("Cannot start: no device")
    with open(os.path.join(log, "control.log"), "a") as file:
        file.write("start " + " ".join(sys.argv[1:]) + " devices=" + os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    held = []
    while True:
        peer, _ = server.accept()
        command = peer.recv(4096).decode().strip()
        with open(os.path.join(log, "control.log"), "a") as file:
            file.write(command + "\\n")
        if command == "quit" and os.path.exists(os.path.join(log, "mute")):
            held.append(peer)
            continue
        peer.sendall(b"bad" if command.startswith("set_default_device_pinned_mem_limit GPU-bad") else b"ok")
        peer.close()
        if command == "quit" and not os.path.exists(os.path.join(log, "deaf")):
            os.unlink(path)
            return

def ask():
    for command in sys.stdin.read().splitlines():
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except OSError:
            sys.exit("Cannot find MPS control daemon process")
        client.sendall(command.encode())
        if client.recv(16) != b"ok":
            sys.exit("Invalid command")

serve() if "-f" in sys.argv else ask()
"""
_SMI = """#!{python} -S
import os, sys
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
with open(os.path.join(folder, "smi.log"), "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if os.path.exists(os.path.join(folder, "smi.refuse")):
    sys.exit("Insufficient Permissions")
"""


def install(root: Path) -> Path:
    """Below <root>/usr/bin; returns that folder."""
    folder = root / "usr/bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("nvidia-cuda-mps-control", _MPS), ("nvidia-smi", _SMI)):
        program = folder / name
        program.write_text(text.format(python=sys.executable))
        program.chmod(0o755)
    return folder
