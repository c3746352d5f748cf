"""Run one more program inside a container (exec, probes, hooks): join its namespace and groups, then exec.

Called with the number of a descriptor that holds the configuration as JSON. What fails before the program runs is
said on standard error, with exit status 126 or 127 as a shell would use.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from fairlead.embedded.agent.shim import program


def main() -> None:
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        config = json.load(file)
    try:
        if config.get("tty"):
            with contextlib.suppress(PermissionError):
                os.setsid()
            program.take_terminal(0)
        program.become(config, os.getppid())
    except FileNotFoundError as error:
        os.write(2, f"{error.strerror}\n".encode())
        os._exit(127)
    except OSError as error:
        os.write(2, f"{error.strerror or error}\n".encode())
        os._exit(126)
