"""How long a gateway takes from a metrics page of vLLM to typed signals, beside prometheus_client's parser.

The page is a real one (vLLM 0.32 while it served requests with LoRA adapters), brought to 60 kB by the series of more
HTTP handlers, as a server has them that answers more routes. A second page has two data-parallel ranks. Time covers
finding the series, taking them apart and mapping them to `EngineSignals`; the full parser does only the first two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fairlead.engines.vllm_metrics import VLLM_SIGNALS
from harness.report import Figure, arguments, report

PAGE = Path(__file__).parents[1] / "tests" / "data" / "engines" / "vllm-0.32-metrics.txt"
SIZE_BYTES = 60_000

_HANDLER = b'handler="/v1/completions"'


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--repeat", type=int, default=2000, help="readings of each page")
    options = parser.parse_args()
    real = PAGE.read_bytes()
    page, ranks = padded(real), two_ranks(real)
    if VLLM_SIGNALS.read(page) != VLLM_SIGNALS.read(real):
        raise SystemExit("the padding changed what the page says")
    if VLLM_SIGNALS.read(ranks).running_requests != 2 * (VLLM_SIGNALS.read(real).running_requests or 0):
        raise SystemExit("two ranks do not add up")
    text = page.decode()
    ours = median_us(lambda: VLLM_SIGNALS.read(page), options.repeat)
    theirs = median_us(lambda: list(text_string_to_metric_families(text)), max(5, options.repeat // 100))
    report(
        [
            Figure("vLLM page to signals", ours, "us", goal=300.0),
            Figure("  the page", len(page) / 1000, "kB"),
            Figure("prometheus_client's parser, same page", theirs, "us"),
            Figure("times faster", theirs / ours, "x"),
            Figure("page of two ranks to signals", median_us(lambda: VLLM_SIGNALS.read(ranks), options.repeat), "us"),
            Figure("  that page", len(ranks) / 1000, "kB"),
        ],
        options.json,
        notes="Medians.",
    )


def padded(page: bytes) -> bytes:
    """The page with the HTTP series of one handler repeated under other routes until it has `SIZE_BYTES`."""
    routes = 0
    grown = page
    while len(grown) < SIZE_BYTES:
        routes += 1
        others = [b'handler="/v1/route-%d"' % route for route in range(routes)]
        lines: list[bytes] = []
        for line in page.split(b"\n"):
            lines.append(line)
            if _HANDLER in line:
                lines += [line.replace(_HANDLER, other) for other in others]
        grown = b"\n".join(lines)
    return grown


def two_ranks(page: bytes) -> bytes:
    """The page with every series of the engine once more for a second data-parallel rank, as vLLM writes them."""
    grown: list[bytes] = []
    group: list[bytes] = []
    for line in [*page.split(b"\n"), b"#"]:
        if line.startswith(b"#"):
            grown += group + [
                sample.replace(b'engine="0"', b'engine="1"') for sample in group if b'engine="0"' in sample
            ]
            group = []
            grown.append(line)
        else:
            group.append(line)
    return b"\n".join(grown[:-1])


def median_us(call: Callable[[], object], repeat: int) -> float:
    """Median time of a call, microseconds."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    main()
