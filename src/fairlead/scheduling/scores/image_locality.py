"""Images that are on the node already."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.columns import Columns, Indexes
from fairlead.scheduling.snapshot import Shape

_LEAST: Final = 23 << 20
_MOST: Final = 1000 << 20
"""By container: bytes below which nothing counts, and above which nothing more."""


def image_locality(shape: Shape, columns: Columns, rows: Indexes) -> npt.NDArray[np.float64]:
    """Bytes of the pod's images that the node has, between two thresholds. Each image is scaled by the share of nodes
    that have it.

    The scaling keeps pods from piling up on the few nodes that have an image. Source: the ImageLocality plugin.
    """
    scores = np.zeros(len(rows))
    worth = {
        name: columns.image_nodes[name] / max(columns.node_number, 1)
        for name in shape.images
        if columns.image_nodes.get(name)
    }
    if not worth:
        return scores
    most = _MOST * len(shape.images)
    for place, row in enumerate(rows.tolist()):
        node = columns.fleet.nodes[row]
        if node is not None and node.images:
            size = sum(node.images.get(name, 0) * share for name, share in worth.items())
            scores[place] = 100.0 * (min(max(size, _LEAST), most) - _LEAST) / (most - _LEAST)
    return scores
