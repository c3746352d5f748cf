"""One picker for the cases of a module: each makes the pool it needs."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from gateway.conformance.gateway import Ask, PickerProcess, running


@pytest.fixture(scope="module")
def picker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PickerProcess]:
    with running(PickerProcess(tmp_path_factory.mktemp("p"))) as one:
        yield one


@pytest.fixture(scope="module")
def channel(picker: PickerProcess) -> Iterator[grpc.Channel]:
    with picker.channel() as one:
        yield one


@pytest.fixture
def ask(channel: grpc.Channel) -> Iterator[Ask]:
    one = Ask(channel)
    yield one
    one.cancel()
