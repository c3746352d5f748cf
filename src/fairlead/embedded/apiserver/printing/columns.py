"""Which columns a kind has in tables. A kind without any shows its name and when it was created."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.printing.cells import CREATED_AT, NAME
from fairlead.embedded.apiserver.registry import Column, Object

Columns = tuple[Column, ...]
RowConditions = Callable[[Object], Sequence[Mapping[str, Any]]]

DEFAULT: Columns = (NAME, CREATED_AT)


@functools.cache
def _registered() -> Mapping[tuple[str, str], Columns]:
    return {}


def columns_for(group: str, kind: str) -> Columns:
    """The columns of a built-in kind; the default ones for any other."""
    return _registered().get((group, kind), DEFAULT)


def row_conditions(group: str, kind: str) -> RowConditions | None:
    """What makes the conditions of a kind's rows (finished pods); None for kinds whose rows have none."""
    return None
