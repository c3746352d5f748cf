"""Command line of the simulated engine."""

from __future__ import annotations

import argparse
import sys

from fairlead.simulator.paced import EngineSettings


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="fairlead engine simulated", description="An OpenAI-compatible model server without a model."
    )
    default = EngineSettings()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8000)
    parser.add_argument("--model", required=True, help="name of the model; the first name it is served under")
    parser.add_argument("--served-model-name", nargs="*", default=[], help="further names it is served under")
    parser.add_argument("--ttft-ms", type=_duration_ms, default=default.ttft_s * 1000, help="time to first token")
    parser.add_argument("--itl-ms", type=_duration_ms, default=default.itl_s * 1000, help="time between tokens")
    parser.add_argument("--max-num-seqs", type=_positive, default=default.max_num_seqs, help="requests in one batch")
    parser.add_argument("--max-model-len", type=_positive, default=default.max_model_len, help="context in tokens")
    parser.add_argument("--num-gpu-blocks", type=_positive, default=default.num_gpu_blocks, help="KV cache blocks")
    parser.add_argument("--drain-timeout-s", type=float, default=25.0, help="how long streams may finish on SIGTERM")
    arguments = parser.parse_args(argv)
    settings = EngineSettings(
        ttft_s=arguments.ttft_ms / 1000,
        itl_s=arguments.itl_ms / 1000,
        max_num_seqs=arguments.max_num_seqs,
        num_gpu_blocks=arguments.num_gpu_blocks,
        max_model_len=arguments.max_model_len,
    )
    import uvloop

    from fairlead.simulator.server import run

    aliases = [name for name in dict.fromkeys(arguments.served_model_name) if name != arguments.model]
    try:
        uvloop.run(
            run(
                arguments.host,
                arguments.port,
                arguments.model,
                aliases=aliases,
                settings=settings,
                drain_timeout_s=arguments.drain_timeout_s,
                on_ready=_say_ready,
            )
        )
    except OSError as error:
        print(f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def _say_ready(port: int) -> None:
    print(f"ready on port {port}", flush=True)


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


def _duration_ms(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3_600_000:
        raise argparse.ArgumentTypeError(f"milliseconds from 0 to 3600000, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
