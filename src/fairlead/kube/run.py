"""Several controllers in one process: one client, shared informers, optionally one leader among several processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from fairlead.kube.controller import Controller
from fairlead.kube.election import LeaderElection
from fairlead.kube.informer import Informers


async def run_controllers(
    informers: Informers,
    controllers: Sequence[Controller],
    *,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Keep the copies current and run the controllers, and whatever loops belong `beside` them, until cancelled.

    The first failure of any of them ends all and is raised.
    """
    async with informers, asyncio.TaskGroup() as group:
        for controller in controllers:
            group.create_task(controller.run(), name=f"controller {controller.name}")
        for loop in beside:
            group.create_task(loop())


async def run_elected(election: LeaderElection | None, start: Callable[[], Awaitable[None]]) -> None:
    """Run `start` while leading, or at once where there is no election.

    `start` is called anew for each term: build controllers in it, as their queues end with the term.
    """
    if election is None:
        await start()
    else:
        await election.lead(start)


async def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends, or cancel it on SIGTERM or SIGINT and wait for it to clean up."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    numbers = (signal.SIGTERM, signal.SIGINT)
    is_told_to_stop = False

    def stop() -> None:
        nonlocal is_told_to_stop
        is_told_to_stop = True
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not is_told_to_stop:
            task.cancel()
            raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
