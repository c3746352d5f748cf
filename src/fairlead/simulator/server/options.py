"""Command line of the simulated engine. Flags are vLLM's where vLLM has the setting."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from fairlead.simulator.engine import AdapterSettings, EngineSettings, Speculation
from fairlead.simulator.profile import EngineProfile, ProfileError, load_profile
from fairlead.simulator.server.failures import FailureError, parse_failures
from fairlead.simulator.server.kv_config import KvEventsError, parse_kv_events
from fairlead.simulator.server.roles import POLICIES, ROLES

Options = argparse.Namespace

_DEFAULT_TTFT_MS = 20.0
_DEFAULT_ITL_MS = 10.0


def parse(argv: Sequence[str] | None) -> Options:
    """Parsed options; exits with a message for those that make no sense."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        prog="fairlead engine simulated",
        description="A vLLM-compatible model server without a model: its engine is simulated in real time.",
    )
    _add_serving(parser)
    _add_engine(parser)
    _add_timing(parser)
    _add_parts(parser)
    options = parser.parse_args(argv)
    try:
        options.hardware = _hardware(options)
        options.settings = settings_of(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _hardware(options: Options) -> Any:
    """The cost that an accelerator brings, None without one. Raises HardwareError."""
    if options.accelerator is None:
        return None
    from fairlead.simulator.server.hardware import roofline

    return roofline(
        options.accelerator,
        options.model_config,
        tensor_parallel=options.tensor_parallel_size,
        pipeline_parallel=options.pipeline_parallel_size,
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serving")
    group.add_argument("--host", default="127.0.0.1")
    group.add_argument("--port", type=_port, default=8000)
    group.add_argument("--model", required=True, help="name of the model; the first name it is served under")
    group.add_argument("--served-model-name", nargs="*", default=[], help="further names it is served under")
    group.add_argument("--tokenizer", type=Path, help="folder with a tokenizer.json; default: four bytes a token")
    group.add_argument("--drain-timeout-s", type=float, default=25.0, help="how long streams may finish on SIGTERM")
    group.add_argument(
        "--answer-tokens", type=_span, default=(32, 160), help="LOW-HIGH: where answers end by themselves"
    )
    group.add_argument(
        "--tool-call-probability", type=_probability, default=0.5, help="how often tool_choice auto calls a tool"
    )
    group.add_argument(
        "--enable-prompt-tokens-details", action="store_true", help="show cached tokens in the usage of answers"
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    default = EngineSettings()
    group = parser.add_argument_group("engine")
    group.add_argument("--max-num-seqs", type=_positive, help=f"requests in one batch ({default.max_num_seqs})")
    group.add_argument("--max-num-batched-tokens", type=_positive, help="tokens of one iteration (2048)")
    group.add_argument("--max-model-len", type=_positive, help=f"context in tokens ({default.max_model_len})")
    group.add_argument("--block-size", type=_positive, help=f"tokens of a KV cache block ({default.block_tokens})")
    group.add_argument(
        "--num-gpu-blocks-override",
        "--num-gpu-blocks",
        dest="num_gpu_blocks",
        type=_positive,
        help=f"KV cache blocks ({default.num_blocks})",
    )
    group.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=None)
    group.add_argument("--enable-chunked-prefill", action=argparse.BooleanOptionalAction, default=None)
    group.add_argument("--async-scheduling", action=argparse.BooleanOptionalAction, default=None)
    group.add_argument("--long-prefill-token-threshold", type=int)
    group.add_argument("--data-parallel-size", type=_positive, default=1)
    group.add_argument("--tensor-parallel-size", type=_positive, default=1)
    group.add_argument("--pipeline-parallel-size", type=_positive, default=1)
    group.add_argument(
        "--speculative-config",
        type=_speculation,
        metavar="JSON",
        help='{"num_speculative_tokens": 3, "acceptance": 0.6, "draft_s": 0.001}; further fields are passed over',
    )
    group.add_argument("--enable-lora", action="store_true")
    group.add_argument("--max-loras", type=_positive, default=1)
    group.add_argument("--max-cpu-loras", type=_positive)
    group.add_argument("--lora-modules", nargs="*", type=_module, default=[], metavar="NAME=PATH")


def _add_timing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("timing: one of paced, calibrated and by hardware")
    group.add_argument("--ttft-ms", type=_duration_ms, help=f"paced: an iteration with prompts ({_DEFAULT_TTFT_MS:g})")
    group.add_argument("--itl-ms", type=_duration_ms, help=f"paced: an iteration of decoding ({_DEFAULT_ITL_MS:g})")
    group.add_argument("--costs", type=_profile, metavar="FILE", help="calibrated: a profile of an engine, in JSON")
    group.add_argument("--accelerator", help="by hardware: its name, as `fairlead simulate` knows it")
    group.add_argument("--model-config", type=Path, help="by hardware: the config.json of the model")
    group.add_argument("--seed", type=int, default=0, help="of jitter, failures and speculation")
    group.add_argument("--jitter", type=float, help="standard deviation of an iteration's time over its mean")


def _add_parts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("KV cache events, hand-off and failures")
    group.add_argument("--kv-events-config", type=_kv_events, metavar="JSON")
    group.add_argument("--kv-events-form", choices=("map", "array"), default="map", help="of an event on the wire")
    group.add_argument("--role", choices=ROLES, default="unified")
    group.add_argument("--kv-transfer-port", type=_port, help="side channel of hand-offs; default with a role: any")
    group.add_argument("--kv-load-failure-policy", choices=POLICIES, default="fail")
    group.add_argument("--failure", type=_failures, default=(), help="e.g. error=503:0.1,latency=0.2,crash=5:0.01")
    group.add_argument("--submit-log", type=Path, help="file for what the engines are given, to be replayed")
    group.add_argument("--start-delay-s", type=float, default=0.0, help="a slow start: seconds until it listens")


def settings_of(options: Options) -> EngineSettings:
    """Settings of one rank: those of the profile, and what the command line says over them. Raises ValueError."""
    profile: EngineProfile | None = options.costs
    base = EngineSettings() if profile is None else profile.engine
    given: dict[str, Any] = {
        "num_blocks": options.num_gpu_blocks,
        "block_tokens": options.block_size,
        "max_num_seqs": options.max_num_seqs,
        "max_num_batched_tokens": options.max_num_batched_tokens,
        "max_model_len": options.max_model_len,
        "chunked_prefill": options.enable_chunked_prefill,
        "prefix_caching": options.enable_prefix_caching,
        "async_scheduling": options.async_scheduling,
        "long_prefill_token_threshold": options.long_prefill_token_threshold,
        "speculation": options.speculative_config,
        "jitter": options.jitter,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if options.enable_lora:
        # vLLM's default keeps as many adapters in host memory as on the device.
        changes["adapters"] = AdapterSettings(options.max_loras, options.max_cpu_loras or options.max_loras)
    if options.max_num_batched_tokens is None:
        # A larger batch than the default of tokens could hold brings its own.
        sequences = changes.get("max_num_seqs", base.max_num_seqs)
        speculation = changes.get("speculation", base.speculation)
        least = sequences * (1 + (speculation.tokens if speculation else 0))
        changes["max_num_batched_tokens"] = max(base.max_num_batched_tokens, least)
    if is_paced(options) and options.async_scheduling is None:
        # Paced means that a request alone gets its first token after exactly this time.
        changes["async_scheduling"] = False
    settings = replace(base, **changes)
    if options.hardware is None:
        return settings
    from fairlead.simulator.server.hardware import capacity

    given = {name: changes[name] for name in ("num_blocks", "max_model_len") if name in changes}
    return replace(capacity(options.hardware, settings), **given)


def is_paced(options: Options) -> bool:
    return options.costs is None and options.accelerator is None


def pace_s(options: Options) -> tuple[float, float]:
    """(seconds of an iteration with prompts, of one without)."""
    ttft_ms = _DEFAULT_TTFT_MS if options.ttft_ms is None else options.ttft_ms
    itl_ms = _DEFAULT_ITL_MS if options.itl_ms is None else options.itl_ms
    return ttft_ms / 1000, itl_ms / 1000


def _checked(parse: Callable[[str], Any], *errors: type[Exception]) -> Callable[[str], Any]:
    """For argparse: a parser whose errors are shown as they are."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except errors as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


_kv_events = _checked(parse_kv_events, KvEventsError)
_failures = _checked(parse_failures, FailureError)
_profile = _checked(lambda text: load_profile(Path(text)), ProfileError)


def _speculation(text: str) -> Speculation:
    try:
        content = msgspec.json.decode(text)
        return Speculation(
            int(content["num_speculative_tokens"]),
            float(content.get("acceptance", 0.6)),
            float(content.get("draft_s", 0.0)),
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"give JSON with num_speculative_tokens: {error}") from error


def _module(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if text.startswith("{"):
        content = msgspec.json.decode(text)
        name, path = str(content.get("name", "")), str(content.get("path", ""))
    if not name or not path:
        raise argparse.ArgumentTypeError(f"give an adapter as NAME=PATH, got {text!r}")
    return name, path


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        span = int(low), int(high or low)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"give LOW-HIGH in tokens, got {text!r}") from error
    if not 2 <= span[0] <= span[1]:
        raise argparse.ArgumentTypeError(f"from 2 tokens on, the lower number first, got {text!r}")
    return span


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, got {text}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a probability is 0 to 1, got {text}")
    return value


def _duration_ms(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3_600_000:
        raise argparse.ArgumentTypeError(f"milliseconds from 0 to 3600000, got {text}")
    return value
