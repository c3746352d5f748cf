"""Carry out what the plan says about a pod's containers: start, watch, probe, stop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fairlead.embedded.agent import cgroups, name_files
from fairlead.embedded.agent.backoff import Backoff
from fairlead.embedded.agent.claims import ClaimsPending
from fairlead.embedded.agent.container import Container, load_pod
from fairlead.embedded.agent.dra.node_devices import EditsError
from fairlead.embedded.agent.dra.preparer import PrepareError
from fairlead.embedded.agent.environment import ConfigError
from fairlead.embedded.agent.execution import execute
from fairlead.embedded.agent.facts import Trouble
from fairlead.embedded.agent.images import ImageError
from fairlead.embedded.agent.logs import tail
from fairlead.embedded.agent.probes import Prober, Report, Target
from fairlead.embedded.agent.runtime import StartError
from fairlead.embedded.agent.slot import Slot
from fairlead.embedded.agent.starter import Blueprint, container_config
from fairlead.embedded.agent.stopper import Stopper, run_hook
from fairlead.kube.errors import ApiError

if TYPE_CHECKING:
    from fairlead.embedded.agent.worker import PodWorker

_CONFIG_RETRY_S = 2.0
_FALLBACK_LINES, _FALLBACK_BYTES = 80, 2048
_HOOK_TIMEOUT_S = 600.0


class ContainerRunner:
    """Works for one pod's worker and wakes it whenever something is known anew."""

    def __init__(self, worker: PodWorker) -> None:
        self._worker = worker
        self._context = worker.context
        self._stopper = Stopper(self._context.runtime, self._context.session, self._context.clock)

    def start(self, slot: Slot, number: int, backoff: Backoff | None) -> None:
        if not slot.starting:
            slot.starting = True
            self._worker.spawn(self._start(slot, number, backoff))

    def stop(self, slot: Slot, reason: str) -> None:
        container = slot.current
        if container is not None and not slot.stopping:
            slot.stopping = True
            self._worker.record("Normal", "Killing", f"Stopping container {slot.spec.name}", slot.spec.name)
            self._worker.spawn(self._stop(slot, container))

    async def adopt(self, slot: Slot) -> None:
        """Go on with what a former agent started."""
        for container in slot.attempts:
            if container.exit is None:
                self._watch(slot, container)
            else:
                # It ended while no agent was there to tidy up.
                await asyncio.to_thread(cgroups.remove, container.config.get("cgroup"))
                await self._read_message(slot, container)

    def note_waiting(self, slot: Slot, trouble: Trouble) -> None:
        """Tell of a back-off once per attempt."""
        if trouble.reason == "CrashLoopBackOff" and not slot.backoff_told:
            slot.backoff_told = True
            pod = self._worker.pod
            message = f"Back-off restarting failed container {slot.spec.name} in pod {pod.full_name}"
            self._worker.record("Warning", "BackOff", message, slot.spec.name)

    async def _start(self, slot: Slot, number: int, backoff: Backoff | None) -> None:
        name = slot.spec.name
        folder = self._worker.folder / "containers" / name / str(number)
        try:
            blueprint = Blueprint(
                self._worker.view,
                slot.spec,
                number,
                folder,
                self._worker.volumes,
                self._context.environment,
                backoff,
                await self._worker.devices.edits(slot.spec),
                name_files.present(self._worker.folder),
            )
            config = await container_config(blueprint, self._context.limits, self._worker.lookup, self._context.clock)
            self._worker.record("Normal", "Pulled", _pulled(slot.spec.image), name)
            self._worker.record("Normal", "Created", f"Container created: {name}", name)
            container = await self._context.runtime.start(folder, config)
        except ImageError as error:
            self._trouble(slot, error.reason, str(error), self._context.policy.initial_s * 2 ** min(slot.failures, 5))
            self._worker.record("Warning", "Failed", f"Error: {error}", name)
        except ConfigError as error:
            self._trouble(slot, "CreateContainerConfigError", str(error), _CONFIG_RETRY_S)
            self._worker.record("Warning", "Failed", f"Error: {error}", name)
        except (EditsError, PrepareError, ClaimsPending) as error:
            self._trouble(slot, "CreateContainerError", str(error), _CONFIG_RETRY_S * 2 ** min(slot.failures, 5))
            self._worker.record("Warning", "Failed", f"Error: {error}", name)
        except StartError as error:
            self._record_attempt(slot, backoff)
            self._worker.record("Warning", "Failed", f"Error: {error}", name)
        except (ApiError, OSError, TimeoutError) as error:
            self._trouble(slot, "CreateContainerError", str(error), _CONFIG_RETRY_S)
            self._worker.record("Warning", "Failed", f"Error: {error}", name)
        except Exception as error:
            self._trouble(slot, "CreateContainerError", f"{type(error).__name__}: {error}", self._context.policy.max_s)
            raise
        else:
            slot.begin()
            slot.backoff = backoff
            slot.hook_done = slot.spec.lifecycle.post_start is None
            slot.attempts = self._context.runtime.prune([*slot.attempts, container])
            self._worker.record("Normal", "Started", f"Started container {name}", name)
            self._watch(slot, container)
        finally:
            slot.starting = False
            self._worker.wake()

    def _record_attempt(self, slot: Slot, backoff: Backoff | None) -> None:
        slot.begin()
        slot.backoff = backoff
        slot.attempts = self._context.runtime.prune(load_pod(self._worker.folder).get(slot.spec.name, []))

    def _trouble(self, slot: Slot, reason: str, message: str, delay_s: float) -> None:
        slot.failures += 1
        slot.trouble = Trouble(reason, message, self._context.clock.wall_s() + min(delay_s, self._context.policy.max_s))

    def _watch(self, slot: Slot, container: Container) -> None:
        slot.tasks.add(self._worker.spawn(self._await_end(slot, container)))
        slot.tasks.add(self._worker.spawn(self._accompany(slot, container)))

    async def _await_end(self, slot: Slot, container: Container) -> None:
        await self._context.runtime.wait(container)
        await self._read_message(slot, container)
        slot.hook_done = True
        slot.ready = slot.startup_passed = None
        # This very task is among the slot's: the others end with the container.
        own = asyncio.current_task()
        for task in slot.tasks - {own}:
            task.cancel()
        slot.tasks.clear()
        self._worker.wake()

    async def _read_message(self, slot: Slot, container: Container) -> None:
        message = await asyncio.to_thread(container.termination_message)
        failed = container.exit is not None and container.exit.exit_code != 0
        if not message and failed and slot.spec.termination_message_policy == "FallbackToLogsOnError":
            message = await tail(container.log_path, _FALLBACK_LINES, _FALLBACK_BYTES)
        known = {attempt.id for attempt in slot.attempts}
        slot.messages = {id: text for id, text in slot.messages.items() if id in known} | {container.id: message}

    async def _accompany(self, slot: Slot, container: Container) -> None:
        """postStart hook first, then probes."""
        hook = slot.spec.lifecycle.post_start
        if hook is not None and not slot.hook_done:
            outcome = await run_hook(
                self._context.session, hook, slot.spec, container, self._worker.pod_ip, _HOOK_TIMEOUT_S
            )
            slot.hook_done = True
            if not outcome.ok:
                self._worker.record(
                    "Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.output}", slot.spec.name
                )
                self._end_failed(slot, container, "FailedPostStartHook")
                return
            self._worker.wake()
        target = Target(
            slot.spec,
            self._worker.pod_ip,
            container.started_at_s,
            lambda command, timeout_s: execute(container, command, timeout_s),
        )
        prober = Prober(target, self._context.session, lambda r: self._take(slot, container, r), self._context.clock)
        await prober.run(startup_passed=slot.startup_passed is True)

    def _take(self, slot: Slot, container: Container, report: Report) -> None:
        name = slot.spec.name
        if not report.outcome.ok:
            failed = "errored and resulted in unknown state" if report.errored else "failed"
            message = f"{report.kind.capitalize()} probe {failed}: {report.outcome.output}"
            self._worker.record("Warning", "Unhealthy", message, name)
        if report.verdict is None:
            return
        if report.kind == "readiness":
            changed = slot.ready != report.verdict
            slot.ready = report.verdict
        elif report.kind == "startup" and report.verdict:
            changed = slot.startup_passed is not True
            slot.startup_passed = True
        else:
            changed = False
        if not report.verdict and report.kind in ("startup", "liveness"):
            probe = slot.spec.startup_probe if report.kind == "startup" else slot.spec.liveness_probe
            slot.stop_grace_s = probe.termination_grace_period_seconds if probe else None
            self._end_failed(slot, container, f"{report.kind} probe")
        if changed:
            self._worker.wake()

    def _end_failed(self, slot: Slot, container: Container, why: str) -> None:
        if slot.stopping or self._worker.pod.metadata.deletion_timestamp is not None:
            return
        slot.stopping = True
        message = f"Container {slot.spec.name} failed {why}"
        message += ", will be restarted" if why.endswith("probe") else ""
        self._worker.record("Normal", "Killing", message, slot.spec.name)
        self._worker.spawn(self._stop(slot, container))

    async def _stop(self, slot: Slot, container: Container) -> None:
        def grace_s() -> float:
            return self._worker.grace_s() if slot.stop_grace_s is None else float(slot.stop_grace_s)

        def hook_failed(output: str) -> None:
            self._worker.record("Warning", "FailedPreStopHook", f"PreStopHook failed: {output}", slot.spec.name)

        try:
            await self._stopper.stop(slot.spec, container, self._worker.pod_ip, grace_s, hook_failed)
        except Exception:
            # Whatever failed, the container must not live on unattended: the next plan stops it again.
            self._context.runtime.kill(container)
            slot.stopping = False
            raise
        finally:
            with contextlib.suppress(RuntimeError):
                self._worker.wake()


def _pulled(image: str) -> str:
    return f'Container image "{image}" already present on machine'
