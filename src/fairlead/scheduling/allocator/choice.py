"""The selectors of a request held against devices, each asked once per device and not before a search comes to it.

A selector that does not compile, or fails on a device, ends the attempt: a driver or a class is wrong, and taking other
devices instead would hide it. Devices that a search never looks at cannot fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead.scheduling.allocator import selectors
from fairlead.scheduling.allocator.devices import PreparedDevice
from fairlead.scheduling.allocator.errors import AllocationError, Fault
from fairlead.scheduling.allocator.selectors import CompileError, Selector, SelectorError, compile_selector


@dataclass(frozen=True, slots=True)
class SelectorUse:
    """Where a selector stands: in a class or a claim, and its place there."""

    owner: str
    index: int
    expression: str


@dataclass(slots=True)
class Choice:
    """The selectors that a device must pass for one request: the class's, then the request's."""

    uses: tuple[SelectorUse, ...]
    features: selectors.Features
    _compiled: list[Selector] = field(default_factory=list)

    def accepts(self, device: PreparedDevice) -> bool:
        """Whether all choose the device. Raises AllocationError where one does not compile or fails on it."""
        verdicts = device.verdicts
        for i, use in enumerate(self.uses):
            if i == len(self._compiled):
                self._compiled.append(self._compile(use))
            selector = self._compiled[i]
            if selector.reads is not None:
                # The selector remembers what it said about devices like this.
                verdict: bool | None = self._ask(use, selector, device)
            else:
                verdict = verdicts.get(selector)
                if verdict is None:
                    verdict = verdicts[selector] = self._ask(use, selector, device)
            if not verdict:
                return False
        return True

    def find_error(self) -> AllocationError | None:
        """What is wrong with a selector that does not compile; None where all do."""
        try:
            for use in self.uses:
                self._compile(use)
        except AllocationError as error:
            return error
        return None

    def _compile(self, use: SelectorUse) -> Selector:
        try:
            return compile_selector(use.expression, features=self.features)
        except CompileError as error:
            raise AllocationError(
                Fault.SELECTOR, f"{use.owner}: selector #{use.index}: CEL compile error: {error}"
            ) from error

    def _ask(self, use: SelectorUse, selector: Selector, device: PreparedDevice) -> bool:
        try:
            return selector.matches(device.subject)
        except SelectorError as error:
            raise AllocationError(
                Fault.SELECTOR,
                f"{use.owner}: selector #{use.index}: CEL runtime error on device {device.id}: {error}",
            ) from error
