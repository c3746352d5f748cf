"""The time slice of a GPU, for which NVIDIA offers a command and no call of NVML."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from fairlead.devices.errors import ClaimError

_LIMIT_S: Final = 30.0


class NvidiaSmi:
    """`program` as a path of this process, None where it is not installed; `library` the libnvidia-ml.so.1 of a driver
    root outside the loader's folders, which nvidia-smi must be given."""

    def __init__(self, program: Path | None, library: Path | None = None) -> None:
        self._program = program
        self._library = library

    def set_time_slice(self, uuid: str, interval: int) -> None:
        """0 default, 1 short, 2 medium, 3 long. Raises ClaimError."""
        self._run("compute-policy", "-i", uuid, "--set-timeslice", str(interval))

    def _run(self, *arguments: str) -> None:
        if self._program is None:
            raise ClaimError(
                "TimeSlicing was asked for, and nvidia-smi is not installed on this node; install the driver's tools",
                retry=False,
            )
        environment = dict(os.environ)
        if self._library is not None:
            before = environment.get("LD_PRELOAD", "")
            environment["LD_PRELOAD"] = f"{self._library}:{before}".rstrip(":")
        command = " ".join(["nvidia-smi", *arguments])
        try:
            done = subprocess.run(
                [str(self._program), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClaimError(f"{command}: no answer in {_LIMIT_S:g} s") from error
        except OSError as error:
            raise ClaimError(f"{command}: {error.strerror}") from error
        if done.returncode != 0:
            output = done.stdout.decode(errors="replace").strip()
            raise ClaimError(f"{command}: ended with {done.returncode}: {output[-400:]}")
