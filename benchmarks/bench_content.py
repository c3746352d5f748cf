"""How fast prompts are made and serialised, ahead of a load: short ones by number, long ones by volume, a trace's.

Texts have exact counts by a tokenizer that is trained on the spot; each figure is the median of several runs.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer as RealTokenizer
from tokenizers import models, pre_tokenizers, trainers

from fairlead.bench.config import Content, SyntheticContent, Target, Tokenizer, TraceContent
from fairlead.bench.content.sessions import sessions
from fairlead.bench.content.tokens import Tokens, tokens_of
from fairlead.bench.run.preparation import size_bytes
from fairlead.bench.session import Session
from fairlead.bench.targets.writing import writer
from fairlead.workload import Fixed, TraceFile
from harness.report import Figure, arguments, report

RUNS = 5


def trained(folder: Path) -> Tokenizer:
    """A byte-level BPE tokenizer of a thousand words."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvwy", k=rng.randint(3, 8))) for _ in range(1500)]
    tokenizer = RealTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=6000, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator((" ".join(rng.choices(words, k=50)) for _ in range(1000)), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return Tokenizer(source=str(folder))


def trace(folder: Path, requests: int) -> TraceContent:
    """As Mooncake's: a dozen blocks of 512 tokens, half of them shared."""
    path = folder / f"{requests}.jsonl"
    with path.open("w") as file:
        for at in range(requests):
            ids = [at % 40 * 10 + block for block in range(6)] + [10_000 + at * 6 + block for block in range(6)]
            row = {"timestamp": at * 10, "input_length": 6000, "output_length": 100, "hash_ids": ids}
            file.write(json.dumps(row) + "\n")
    return TraceContent(path=str(path))


def prepared(content: Content, tokens: Tokens, count: int) -> tuple[float, int]:
    """Seconds to make and serialise so many requests, and their bytes."""
    made: Iterator[Session] = sessions(content, tokens, 0)
    writing = writer(Target(url="http://127.0.0.1:1", model="m", api="completions"), 0, [])
    next(made)
    begin_s = time.perf_counter()
    total = sum(size_bytes(writing.prepare(session, n, 0, 0.0)) for n, session in enumerate(islice(made, count)))
    return time.perf_counter() - begin_s, total


def median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(RUNS))


def rate(content: Content, tokens: Tokens, count: int) -> float:
    seconds, _ = prepared(content, tokens, count)
    return count / seconds


def volume(content: Content, tokens: Tokens, count: int) -> float:
    seconds, total = prepared(content, tokens, count)
    return total / 1e6 / seconds


def lines_per_s(content: TraceContent, count: int) -> float:
    begin_s = time.perf_counter()
    assert sum(1 for _ in TraceFile(Path(content.path))) == count
    return count / (time.perf_counter() - begin_s)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = arguments((__doc__ or "").splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = tokens_of(trained(folder), "completions")
        short = SyntheticContent(prompt_tokens=Fixed(64), output_tokens=Fixed(16))
        long = SyntheticContent(prompt_tokens=Fixed(20_000), output_tokens=Fixed(16))
        small, large = trace(folder, 2000), trace(folder, 100_000)
        figures = [
            Figure("prompts of 64 tokens", median(lambda: rate(short, tokens, 5000)), "1/s", 5000, "higher"),
            Figure("prompts of 20,000 tokens", median(lambda: volume(long, tokens, 200)), "MB/s", 200, "higher"),
            Figure("trace of blocks, prepared", median(lambda: volume(small, tokens, 1000)), "MB/s", 200, "higher"),
            Figure("trace of blocks, read", median(lambda: lines_per_s(small, 2000)), "1/s", 50_000, "higher"),
        ]
        before = peak_mb()
        assert sum(1 for _ in TraceFile(Path(large.path))) == 100_000
        figures.append(Figure("memory that a trace of 100,000 requests adds", peak_mb() - before, "MB", 2))
        report(figures, options.json)


if __name__ == "__main__":
    main()
