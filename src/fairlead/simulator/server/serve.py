"""Puts a server together from its options, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from fairlead.clock import SYSTEM, Clock
from fairlead.simulator.engine import Engine
from fairlead.simulator.profile import EngineProfile, FrontendCost
from fairlead.simulator.server.adapters import Models
from fairlead.simulator.server.answers.outcome import Author
from fairlead.simulator.server.app import SimulatedServer
from fairlead.simulator.server.bodies.chat import ChatTemplate, PlainTemplate
from fairlead.simulator.server.composer import Composer
from fairlead.simulator.server.driver import Driver
from fairlead.simulator.server.handoff import Handoff
from fairlead.simulator.server.journal import Journal
from fairlead.simulator.server.metrics.cache_info import cache_labels
from fairlead.simulator.server.metrics.metrics_page import MetricsPage, Rank
from fairlead.simulator.server.operations import Operations
from fairlead.simulator.server.options import Options, pace_s
from fairlead.simulator.server.pace import PacedCost
from fairlead.simulator.server.respond import Responder, fingerprint
from fairlead.simulator.server.text.tokens import ByteTokenizer, Tokenizer
from fairlead.simulator.server.text.words import Words, byte_words

if TYPE_CHECKING:
    from fairlead.perf.step import StepCost
    from fairlead.simulator.server.kv_publisher import KvPublisher


class StartError(ValueError):
    """Options that parse but make no server; the message says which and why."""


async def run(options: Options, on_ready: Callable[[int], Awaitable[None]], clock: Clock = SYSTEM) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` gets the port, which matters when the option is 0.

    Raises OSError when the address cannot be bound, StartError for options that make no server.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    parts = Parts(options, clock)
    server = parts.server()
    runner = web.AppRunner(server.application(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await parts.open()
        if options.start_delay_s:
            await clock.sleep(options.start_delay_s)
        site = web.TCPSite(runner, options.host, options.port, backlog=1024, reuse_address=True)
        await site.start()
        # What is here now stays: the collector need not look at it again in the midst of an iteration's tokens.
        gc.freeze()
        await on_ready(int(runner.addresses[0][1]))
        await stopping.wait()
        await server.drain(options.drain_timeout_s)
    finally:
        await runner.cleanup()
        await parts.close()


class Parts:
    """What a server is made of; `driver` and `publishers` are open to tests."""

    def __init__(self, options: Options, clock: Clock = SYSTEM) -> None:
        self._options = options
        self._clock = clock
        settings = options.settings
        profile: EngineProfile | None = options.costs
        frontend = FrontendCost() if profile is None else profile.frontend
        names = tuple(dict.fromkeys((options.model, *options.served_model_name)))
        started_s = clock.wall_s()
        self.models = Models(
            names,
            root=str(options.tokenizer or options.model),
            max_model_len=settings.max_model_len,
            created_s=int(started_s),
        )
        self.models.add(dict(options.lora_modules))
        self.publishers = self._publishers()
        cost = _cost(options)
        ranks = [
            Rank(
                Engine(
                    settings,
                    cost,
                    seed=options.seed + index,
                    blocks=self.publishers[index] if self.publishers else None,
                )
            )
            for index in range(options.data_parallel_size)
        ]
        self.driver = Driver(ranks, clock, response_s=frontend.response_s)
        if self.publishers:
            self.driver.on_step = lambda rank: self.publishers[rank].flush()
        self.handoff = Handoff(
            self.driver.release,
            role=options.role,
            engine_id=secrets.token_hex(16),
            block_tokens=settings.block_tokens,
            num_blocks=settings.num_blocks,
            tensor_parallel_size=options.tensor_parallel_size,
            pipeline_parallel_size=options.pipeline_parallel_size,
            failure_policy=options.kv_load_failure_policy,
        )
        self.responder = Responder(
            self.driver,
            clock,
            frontend=frontend,
            handoff=self.handoff,
            fingerprint=f"fairlead-{fingerprint(settings, cost, names)}",
            failures=options.failure,
            seed=options.seed,
        )
        labels = cache_labels(
            ranks[0].engine,
            overridden=options.num_gpu_blocks is not None,
            block_size_given=options.block_size is not None,
        )
        self.page = MetricsPage(names[0], ranks, started_s, labels)
        self.composer = self._composer()

    async def open(self) -> None:
        """Bind what is beside the HTTP port, and open files. Raises StartError."""
        options = self._options
        try:
            if options.submit_log is not None:
                self.driver.journal = Journal(options.submit_log)
            for publisher in self.publishers:
                publisher.open()
            if options.kv_transfer_port is not None or options.role != "unified":
                await self.handoff.listen(options.host, options.kv_transfer_port or 0)
        except OSError as error:
            where = error.filename or f"{options.host}:{options.kv_transfer_port or 0}"
            raise StartError(f"cannot open {where}: {error.strerror}") from error

    async def close(self) -> None:
        self.driver.close()
        if self.driver.journal is not None:
            self.driver.journal.close()
        await self.handoff.close()
        for publisher in self.publishers:
            publisher.close()

    def server(self) -> SimulatedServer:
        options = self._options
        operations = Operations(
            self.driver,
            self.responder,
            self._clock,
            describe=partial(_description, options),
            world_size=options.tensor_parallel_size * options.pipeline_parallel_size,
            kv_sources={str(rank): publisher.source() for rank, publisher in enumerate(self.publishers)},
        )
        return SimulatedServer(
            self.driver, self.composer, self.models, self.responder, self.page, operations, self._clock
        )

    def _publishers(self) -> list[KvPublisher]:
        options = self._options
        if options.kv_events_config is None:
            return []
        # Brings ZeroMQ, which a start without events need not wait for.
        from fairlead.simulator.server.kv_publisher import KvPublisher

        return [
            KvPublisher(
                options.kv_events_config,
                rank,
                self._clock,
                block_tokens=options.settings.block_tokens,
                form=options.kv_events_form,
                adapter_number=self._adapter_number,
            )
            for rank in range(options.data_parallel_size)
        ]

    def _adapter_number(self, name: str) -> int | None:
        adapter = self.models.adapters.get(name)
        return None if adapter is None else adapter.number

    def _composer(self) -> Composer:
        options = self._options
        tokenizer: Tokenizer = ByteTokenizer()
        template: ChatTemplate = PlainTemplate()
        words = byte_words()
        if options.tokenizer is not None:
            from fairlead.simulator.server.text.vocabulary import FileTokenizer, TokenizerError

            try:
                loaded = FileTokenizer(options.tokenizer)
            except TokenizerError as error:
                raise StartError(f"--tokenizer: {error}") from error
            tokenizer, template = loaded, loaded.chat_template()
            words = Words(loaded.words(), loaded.words())
        low, high = options.answer_tokens
        return Composer(
            self.models,
            tokenizer,
            template,
            Author(tokenizer, words, low=low, high=high),
            block_tokens=options.settings.block_tokens,
            max_model_len=options.settings.max_model_len,
            tool_probability=options.tool_call_probability,
            cached_tokens_shown=options.enable_prompt_tokens_details,
        )


def _cost(options: Options) -> StepCost:
    if options.costs is not None:
        if options.costs.cost is None:
            raise StartError("--costs: the profile has no cost: calibrate one, or take --ttft-ms and --itl-ms")
        cost: StepCost = options.costs.cost
        return cost
    if options.hardware is not None:
        hardware: StepCost = options.hardware
        return hardware
    return PacedCost(*pace_s(options))


def _description(options: Options) -> dict[str, object]:
    """The body of /server_info."""
    settings = asdict(options.settings)
    shown = ", ".join(f"{name}={value}" for name, value in settings.items())
    return {"vllm_config": f"model='{options.model}', seed={options.seed}, {shown}", "vllm_env": {}, "system_env": {}}
