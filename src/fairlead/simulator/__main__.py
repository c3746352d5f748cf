"""Command line of the simulated engine."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    from fairlead.simulator.server.options import parse

    options = parse(argv)
    import uvloop

    from fairlead.simulator.server.serve import StartError, run

    try:
        uvloop.run(run(options, _say_ready))
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _say_ready(port: int) -> None:
    print(f"ready on port {port}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
