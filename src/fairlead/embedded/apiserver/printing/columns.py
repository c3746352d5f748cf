"""Which columns a kind has in tables. A kind without any shows its name and when it was created."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.printing import (
    autoscaling_columns,
    core_columns,
    device_columns,
    network_columns,
    policy_columns,
    storage_columns,
    workload_columns,
)
from fairlead.embedded.apiserver.printing.cells import CREATED_AT, NAME
from fairlead.embedded.apiserver.printing.pod_columns import POD
from fairlead.embedded.apiserver.printing.pod_columns import row_conditions as _pod_conditions
from fairlead.embedded.apiserver.registry import Column, Object

Columns = tuple[Column, ...]
RowConditions = Callable[[Object], Sequence[Mapping[str, Any]]]

DEFAULT: Columns = (NAME, CREATED_AT)

_GROUPS = (
    core_columns,
    workload_columns,
    network_columns,
    storage_columns,
    policy_columns,
    autoscaling_columns,
    device_columns,
)
# (group, kind) -> columns
_COLUMNS: Mapping[tuple[str, str], Columns] = {
    ("", "Pod"): POD,
    **ChainMap(*(dict(module.COLUMNS) for module in _GROUPS)),
}


def columns_for(group: str, kind: str) -> Columns:
    """The columns of a built-in kind; the default ones for any other."""
    return _COLUMNS.get((group, kind), DEFAULT)


def row_conditions(group: str, kind: str) -> RowConditions | None:
    """What makes the conditions of a kind's rows (finished pods); None for kinds whose rows have none."""
    return _pod_conditions if (group, kind) == ("", "Pod") else None
