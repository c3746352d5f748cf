"""The real Envoy and simulated engines around a picker server in the test's own process."""

from collections.abc import AsyncIterator

import pytest

from gateway.envoy.front import Front


@pytest.fixture
async def front(tmp_path) -> AsyncIterator[Front]:
    one = Front(tmp_path)
    yield one
    await one.stop()
