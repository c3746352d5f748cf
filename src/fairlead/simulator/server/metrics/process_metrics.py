"""Series of the Python process, as its Prometheus client adds them to vLLM's page."""

from __future__ import annotations

import gc
import os
import platform
import resource
import sys
from pathlib import Path

from fairlead.simulator.server.metrics.exposition import Page


def write_process(page: Page, started_s: float) -> None:
    """Write them; `started_s` is the start of the process, seconds since the epoch."""
    stats = gc.get_stats()
    for name, key in (
        ("objects_collected", "collected"),
        ("objects_uncollectable", "uncollectable"),
        ("collections", "collections"),
    ):
        samples = [({"generation": str(index)}, float(stat[key])) for index, stat in enumerate(stats)]
        page.plain_counter(f"python_gc_{name}", "Of the garbage collector.", samples)
    major, minor, patch = sys.version_info[:3]
    labels = {
        "implementation": platform.python_implementation(),
        "major": str(major),
        "minor": str(minor),
        "patchlevel": str(patch),
        "version": platform.python_version(),
    }
    page.gauge("python_info", "The Python in use.", [(labels, 1)])
    pages = [int(each) for each in Path("/proc/self/statm").read_text().split()[:2]]
    page_bytes = resource.getpagesize()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    for name, value in (
        ("virtual_memory_bytes", pages[0] * page_bytes),
        ("resident_memory_bytes", pages[1] * page_bytes),
        ("start_time_seconds", started_s),
        ("open_fds", len(os.listdir("/proc/self/fd"))),
        ("max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ):
        page.gauge(f"process_{name}", "Of this process.", [({}, value)])
    page.plain_counter("process_cpu_seconds", "CPU time of this process.", [({}, usage.ru_utime + usage.ru_stime)])
