"""What a pod wishes of nodes: preferred node affinity, and taints that it would rather avoid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.filters.taints import is_tolerated
from fairlead.scheduling.snapshot import NodeView, Shape

Scores = npt.NDArray[np.float64]


def preference(shape: Shape, node: NodeView) -> int:
    """Sum of the weights of the preferred terms that match. Source: the NodeAffinity plugin."""
    return sum(weight for weight, term in shape.preferred_terms if term.matches(node))


def avoided_taints(shape: Shape, node: NodeView) -> int:
    """How many PreferNoSchedule taints are not tolerated. Source: the TaintToleration plugin."""
    return sum(taint.effect == "PreferNoSchedule" and not is_tolerated(shape, taint) for taint in node.taints)


def more_is_better(raw: Scores, fits: npt.NDArray[np.bool_]) -> Scores:
    """0 to 100, in proportion to the most that a fitting row has."""
    most = float(raw[fits].max(initial=0.0))
    return 100.0 * raw / most if most > 0 else np.zeros(len(raw))


def less_is_better(raw: Scores, fits: npt.NDArray[np.bool_]) -> Scores:
    return 100.0 - more_is_better(raw, fits)
