"""What a selector reads decides what it says: devices that have that alike get the same verdict."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.objects.devices import DeviceAttribute, DeviceCapacity
from fairlead.scheduling.allocator.selector_device import SelectorDevice, SelectorError
from fairlead.scheduling.allocator.selectors import compile_selector

_SELECTORS = (
    'device.driver == "a"',
    'device.attributes["a"].kind == "x"',
    'device.attributes["a"]["kind"] == "x" && device.attributes["b"].size > 1',
    'has(device.attributes["b"].size) && device.attributes["b"].size == 2',
    'device.capacity["a"].memory.compareTo(quantity("2Gi")) >= 0',
    'device.attributes["a"].kind.startsWith("x") || device.allowMultipleAllocations',
)
_WHOLE = (
    '"kind" in device.attributes["a"]',
    'device.attributes["a"].exists(name, name == "kind")',
    'cel.bind(mine, device.attributes["a"], mine.kind == "x")',
    'device.attributes[device.driver].kind == "x"',
)


@pytest.mark.parametrize("expression", _SELECTORS)
def test_plain_paths_are_known(expression: str) -> None:
    assert compile_selector(expression).reads is not None


@pytest.mark.parametrize("expression", _WHOLE)
def test_maps_as_a_whole_are_not(expression: str) -> None:
    assert compile_selector(expression).reads is None


def _attributes() -> st.SearchStrategy[dict[str, DeviceAttribute]]:
    values = st.sampled_from(
        [{"string": "x"}, {"string": "y"}, {"int": 1}, {"int": 2}, {"ints": [1]}, {"version": "?"}]
    )
    names = st.sampled_from(["kind", "a/kind", "b/size", "serial"])
    return st.dictionaries(names, values.map(lambda value: msgspec.convert(value, DeviceAttribute)), max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(_SELECTORS),
    st.lists(
        st.builds(
            SelectorDevice,
            st.sampled_from(["a", "b"]),
            _attributes(),
            st.dictionaries(
                st.sampled_from(["memory", "a/memory"]),
                st.sampled_from(["1Gi", "4Gi", "much"]).map(lambda text: DeviceCapacity(value=text)),
                max_size=1,
            ),
            st.booleans(),
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_what_is_remembered_is_what_it_would_say(expression: str, devices: list[SelectorDevice]) -> None:
    selector = compile_selector(expression)

    def asked(device: SelectorDevice, remembered: bool) -> bool | str:
        try:
            return selector.matches(device) if remembered else selector.evaluate(device)[0]
        except SelectorError as error:
            return str(error)

    for device in devices:
        assert asked(device, True) == asked(device, False)
