"""Run the poststop hooks of a container whose shim was killed before it could. Called with the container's folder."""

from __future__ import annotations

import json
import os
import sys

from fairlead.embedded.agent.shim import hooks


def main() -> None:
    os.chdir(sys.argv[1])
    with open("config.json") as file:
        config = json.load(file)
    for problem in hooks.run_all(config, "poststop", hooks.state(config, "stopped", 0, os.getcwd())):
        print(problem, file=sys.stderr)
