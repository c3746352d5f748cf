"""From times of tokens to what the iterations between them computed.

A gap between two tokens of a request is one iteration of the engine. What it computed is told by the others: every
request between its first and last token decoded in it, and requests whose first token came at its end had their prompt
computed in it. States are read in the middle of gaps, where the spread of the tokens of one iteration does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.simulator.calibration.observation import Observation

COLUMNS = ("sequences", "prefill_base", "prefill_tokens", "prefill_pairs", "context", "outside")
"""What an iteration computed: decoding sequences, whether there was any prompt, its tokens and (query, key) pairs, the
context of the decoding, and whether the time outside of the engine is in it."""


class Timeline:
    """Who decodes, and with how much context, at any time."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        times, sequences, context = [], [], []
        for one in observations:
            tokens = one.token_s
            # After token k the context is prompt + k - 1 tokens and the one just made; the last token ends it.
            for number, at_s in enumerate(tokens[:-1]):
                times.append(at_s)
                sequences.append(1 if not number else 0)
                context.append(one.prompt_tokens if not number else 1)
            if len(tokens) > 1:
                times.append(tokens[-1])
                sequences.append(-1)
                context.append(-(one.prompt_tokens + len(tokens) - 2))
        order = np.argsort(times, kind="stable")
        self._times = np.array(times)[order]
        self._sequences = np.concatenate(([0], np.cumsum(np.array(sequences)[order])))
        self._context = np.concatenate(([0], np.cumsum(np.array(context)[order])))
        firsts = sorted((o.token_s[0], o.prompt_tokens) for o in observations)
        self._first_s = np.array([at_s for at_s, _ in firsts])
        prompts = np.array([tokens for _, tokens in firsts], dtype=float)
        self._prompts = np.concatenate(([0.0], np.cumsum(prompts)))
        self._pairs = np.concatenate(([0.0], np.cumsum(prompts * (prompts + 1) / 2)))

    def decoding(self, at_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sequences that decode at these times, and their context in tokens."""
        index = np.searchsorted(self._times, at_s, side="right")
        return self._sequences[index], self._context[index]

    def prefilled(self, after_s: np.ndarray, until_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First tokens in these spans: how many, and the tokens and (query, key) pairs of their prompts."""
        low = np.searchsorted(self._first_s, after_s, side="right")
        high = np.searchsorted(self._first_s, until_s, side="right")
        return high - low, self._prompts[high] - self._prompts[low], self._pairs[high] - self._pairs[low]


def decode_rows(observations: Sequence[Observation], timeline: Timeline) -> tuple[np.ndarray, np.ndarray]:
    """One row of `COLUMNS` and one duration for every gap between tokens."""
    starts: list[float] = []
    ends: list[float] = []
    nexts: list[float] = []
    for one in observations:
        tokens_s = one.token_s
        starts += tokens_s[:-1]
        ends += tokens_s[1:]
        nexts += [*tokens_s[2:], 2 * tokens_s[-1] - tokens_s[-2]] if len(tokens_s) > 1 else []
    start_s, end_s, next_s = np.array(starts), np.array(ends), np.array(nexts)
    middle_s = (start_s + end_s) / 2
    sequences, context = timeline.decoding(middle_s)
    count, tokens, pairs = timeline.prefilled(middle_s, (end_s + next_s) / 2)
    rows = np.column_stack((sequences, count > 0, tokens, pairs, context, np.zeros_like(middle_s)))
    return rows, end_s - start_s


def idle_rows(observations: Sequence[Observation], timeline: Timeline) -> tuple[np.ndarray, np.ndarray]:
    """One row and one TTFT for every request that found the engine idle and had it for itself."""
    rows, times = [], []
    sent = sorted(o.sent_s for o in observations)
    firsts = sorted(o.token_s[0] for o in observations)
    for one in observations:
        first_s = one.token_s[0]
        alone = np.searchsorted(sent, first_s) - np.searchsorted(sent, one.sent_s, side="right") == 0
        none_before = np.searchsorted(firsts, one.sent_s) == np.searchsorted(sent, one.sent_s)
        decoding = timeline.decoding(np.array([one.sent_s, first_s - 1e-9]))[0]
        if alone and none_before and not decoding.any():
            pairs = one.prompt_tokens * (one.prompt_tokens + 1) / 2
            rows.append((0.0, 1.0, one.prompt_tokens, pairs, 0.0, 1.0))
            times.append(one.ttft_s)
    return np.array(rows).reshape(-1, len(COLUMNS)), np.array(times)
