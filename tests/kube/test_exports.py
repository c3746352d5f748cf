from __future__ import annotations

import subprocess
import sys

import fairlead.kube
from patience import PATIENCE_S


def test_every_public_name_is_there() -> None:
    assert fairlead.kube.__all__ == sorted(fairlead.kube.__all__)
    for name in fairlead.kube.__all__:
        assert getattr(fairlead.kube, name) is not None
    assert set(fairlead.kube._MODULE_OF) == set(fairlead.kube.__all__)


def test_the_room_loads_its_floors_on_demand() -> None:
    program = "import fairlead.kube.errors, sys; print('aiohttp' in sys.modules, 'prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.split() == ["False", "False"]
