"""Whether the pods of this machine can have cluster DNS, found out by listening where it would."""

from __future__ import annotations

import errno
import socket

PORT = 53
"""Of name servers: a resolv.conf can name no other."""


def check_dns(address: str) -> str:
    """Why not, empty where they can. `address` is one of this process's own that nobody else listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, PORT))
        except PermissionError:
            remedy = f"`sysctl net.ipv4.ip_unprivileged_port_start={PORT}`, as root, lets everybody"
            return f"this user may not listen on port {PORT}: {remedy}"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"another program listens on port {PORT} of every address: bind it to those that it needs"
            return error.strerror or str(error)
    return ""
