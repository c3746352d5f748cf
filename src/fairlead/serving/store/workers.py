"""Running many blocking jobs on a few threads, until one fails or all are done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from fairlead.serving.store.errors import Stopped
from fairlead.serving.store.repository import Cancel

Job = TypeVar("Job")
_AHEAD = 4


def run_all(jobs: Iterable[Job], work: Callable[[Job], None], threads: int, cancel: Cancel) -> None:
    """`work` for each job, in their order, on `threads` threads. The first error cancels the others and is raised.

    An interruption of the calling thread (Ctrl-C) cancels too. The jobs are taken as they are needed.
    """
    waiting: Iterator[Job] = iter(jobs)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="store")
    running: set[Future[None]] = set()
    try:
        while True:
            while len(running) < threads * _AHEAD:
                job = next(waiting, None)
                if job is None:
                    break
                running.add(executor.submit(work, job))
            if not running:
                return
            done, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            cancel.check()
    except BaseException as error:
        cancel.set()
        executor.shutdown(cancel_futures=True)
        raise _cause(error, running) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _cause(error: BaseException, running: set[Future[None]]) -> BaseException:
    """What went wrong first: not that the others were told to stop."""
    if isinstance(error, Stopped):
        for future in running:
            if future.done() and not future.cancelled():
                other = future.exception()
                if other is not None and not isinstance(other, Stopped):
                    return other
    return error


class Counter:
    """A number that many threads add to."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self, amount: int) -> None:
        with self._lock:
            self.value += amount
