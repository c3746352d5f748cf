"""`python -m chaos.nursery`: a warm process that forks lives. Imports are paid once, and each life is a process of its
own with a memory of its own. One JSON object a line on standard input makes one life; the end of the input ends it."""

from __future__ import annotations

import json
import os
import signal
import sys

import fairlead.embedded.controllers.run
import fairlead.serving.adapters.controller
import fairlead.serving.controller  # noqa: F401
from chaos.life import CREWS, run


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            try:
                run(json.loads(line), CREWS)
            finally:
                os._exit(1)


if __name__ == "__main__":
    main()
