"""ServiceAccount: nothing but metadata and references."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy


class ServiceAccountStrategy(ObjectStrategy):
    metadata_rechecks = 1
