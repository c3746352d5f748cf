"""Wishes about the pods nearby, of the newcomer and of those that stand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.columns import Columns
from fairlead.scheduling.neighbours import Neighbours


def inter_pod_affinity(
    neighbours: Neighbours, columns: Columns, fits: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Sum of the weights of the pods in each row's domains, scaled so that the fitting rows lie between 0 and 100.

    Source: `Score` and `NormalizeScore` of the InterPodAffinity plugin.
    """
    raw = np.zeros(columns.size)
    for level, weights in neighbours.pull.items():
        domains = columns.domains(level)
        raw += domains.sums(weights)[domains.of_row]
    fitting = raw[fits]
    if not len(fitting) or fitting.min() == fitting.max():
        return np.zeros(columns.size)
    least, most = float(fitting.min()), float(fitting.max())
    return 100.0 * (raw - least) / (most - least)
