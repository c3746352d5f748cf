"""Writes down what NVML answers on this machine: `python -m fairlead.devices.vendors.nvidia.record FILE`.

Nothing on the machine is changed. The file names GPUs by UUID and serial number, and can be replayed anywhere with the
driver's option `recording`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fairlead.devices.vendors.nvidia.installed import PynvmlLibrary
from fairlead.devices.vendors.nvidia.nvml import NvmlError
from fairlead.devices.vendors.nvidia.recording import record, write_recording


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fairlead.devices.vendors.nvidia.record", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="where to write the recording")
    parser.add_argument("--source", default="", help="a few words about the machine")
    parser.add_argument("--library", type=Path, help="a libnvidia-ml.so.1 outside the loader's folders")
    options = parser.parse_args(arguments)
    try:
        library = PynvmlLibrary(options.library)
    except NvmlError as error:
        print(f"error: {error}; is an NVIDIA driver installed here?", file=sys.stderr)
        return 1
    try:
        recording = record(library, options.source)
        write_recording(recording, options.file)
    except OSError as error:
        print(f"error: {options.file}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        library.close()
    print(f"{options.file}: {len(recording.answers)} answers, {len(recording.errors)} refusals")
    return 0


if __name__ == "__main__":
    sys.exit(main())
