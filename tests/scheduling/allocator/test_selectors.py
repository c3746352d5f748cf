from typing import Any

import pytest

from fairlead.kube.objects.devices import DeviceAttribute, DeviceCapacity
from fairlead.scheduling.allocator.selectors import (
    CompileError,
    EnvironmentType,
    Features,
    SelectorDevice,
    SelectorError,
    check_selector,
    compile_selector,
)

NO_FEATURES = Features(consumable_capacity=False, list_attributes=False)
GPU = SelectorDevice(
    driver="gpu.example.com",
    attributes={
        "model": DeviceAttribute(string="H100"),
        "index": DeviceAttribute(int_=3),
        "healthy": DeviceAttribute(bool_=True),
        "driverVersion": DeviceAttribute(version="550.54.15"),
        "links": DeviceAttribute(ints=[1, 2, 4]),
        "resource.kubernetes.io/pcieRoot": DeviceAttribute(string="pci0000:00"),
    },
    capacity={"memory": DeviceCapacity(value="80Gi")},
    allow_multiple_allocations=True,
)


def gpu(text: str) -> str:
    """A selector with "@" for the attributes of the driver and "%" for its capacity."""
    return text.replace("@", 'device.attributes["gpu.example.com"]').replace("%", 'device.capacity["gpu.example.com"]')


@pytest.mark.parametrize(
    "expression",
    [
        'device.driver == "gpu.example.com"',
        '@.model == "H100" && @["index"] == 3',
        'device.attributes["resource.kubernetes.io"].pcieRoot == "pci0000:00"',
        '@.driverVersion.isGreaterThan(semver("550.0.0")) && @.driverVersion.major() == 550',
        '%.memory.compareTo(quantity("40Gi")) > 0 && %.memory == quantity("80Gi")',
        'cel.bind(gpu, @, gpu.healthy && gpu.model.startsWith("H"))',
        'cel.bind(all, device.attributes, !("x" in all["nowhere"]))',
        "device.allowMultipleAllocations",
        '@.links.includes(2) && @.model.includes("H100") && !@.links.includes(3)',
        "@.links.exists(link, link > 3) && @.links.all(link, link > 0)",
        "@.healthy",
        'has(@.model) && !has(@.nope) && has(device.driver) && "model" in @',
        '@.nope == 1 || @.model == "H100"',
        "@.index + 1 == 4 && @.index == 3.0 && @.index < 3.5",
        '@.model in ["A100", "H100"]',
        '@.model.matches("^H[0-9]+$") && @.model.find("[0-9]+") == "100"',
        "[3, 1, 2].sort() == [1, 2, 3]",
        'timestamp("2026-01-01T00:00:00Z") < timestamp("2026-01-02T00:00:00Z")',
        'device.attributes[?"gpu.example.com"].hasValue()',
    ],
)
def test_matches(expression: str) -> None:
    assert compile_selector(gpu(expression)).matches(GPU)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ('@.nope == "x"', "no such key: nope"),
        ('device.attributes["nowhere"].x == 1', "no such key: x"),
        ("@.model > 3", "no such overload"),
        ("@.index.isLessThan(quantity('1'))", "no such overload: isLessThan(int, kubernetes.Quantity)"),
        ("@.model.exists(x, x == 1)", "got 'types.String', expected iterable type"),
        ("%.memory == @.index", "no such overload"),
        ("@.index / (@.index - 3) == 0", "division by zero"),
        ("@.links[7] == 0", "index out of bounds: 7"),
        ("quantity('x') == quantity('1')", "quantities must match the regular expression"),
        ("semver('x') == semver('1.0.0')", "No Major.Minor.Patch elements found"),
        ("@.model", "CEL result of type string could not be converted to bool"),
        ("@.healthy && @.nope", "no such key: nope"),
    ],
)
def test_fails_at_run_time(expression: str, reason: str) -> None:
    with pytest.raises(SelectorError) as caught:
        compile_selector(gpu(expression)).matches(GPU)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("device.foo", "compilation failed: ERROR: <input>:1:7: undefined field 'foo'\n | device.foo\n | ......^"),
        ("@.a.b(", "Syntax error"),
        ("Device.driver == 'x'", "<input>:1:1: undeclared reference to 'Device'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("%.memory > 3", "found no matching overload for '_>_' applied to '(kubernetes.Quantity, int)'"),
        ('"x".matches("[")', "<input>:1:13: invalid matches argument"),
        ("[1, 'a'].size() == 2", "<input>:1:5: expected type 'int' but found 'string'"),
        (
            "true &&\n  [1, 'a'].size() == 2",
            "<input>:2:7: expected type 'int' but found 'string'\n |   [1, 'a'].size()",
        ),
        ("int('x') == 1", "program instantiation failed: type conversion error from 'string' to 'int'"),
        ("'" + "x" * 10240 + "' == ''", "Too long: may not be more than 10240 bytes"),
    ],
)
def test_does_not_compile(expression: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_selector(gpu(expression))
    assert message in str(caught.value)


def test_new_expressions_obey_the_features_and_stored_ones_keep_running() -> None:
    shared = "device.allowMultipleAllocations"
    with pytest.raises(CompileError, match="undefined field 'allowMultipleAllocations'"):
        check_selector(shared, features=NO_FEATURES)
    assert compile_selector(shared, features=NO_FEATURES).matches(SelectorDevice("d", {}, {}, True))
    includes = 'device.attributes["d"].names.includes("a")'
    with pytest.raises(CompileError, match="undeclared reference to 'includes'"):
        check_selector(includes, features=NO_FEATURES)
    assert compile_selector(includes, features=NO_FEATURES).matches(
        SelectorDevice("d", {"names": DeviceAttribute(string="a")})
    )


def test_a_list_is_no_value_without_the_feature() -> None:
    with pytest.raises(SelectorError, match="attribute links: unsupported attribute value"):
        compile_selector("true", features=NO_FEATURES).matches(GPU)
    with pytest.raises(CompileError, match="expression of type 'any' cannot be range of a comprehension"):
        compile_selector(gpu("@.links.all(x, x > 0)"), features=NO_FEATURES)


@pytest.mark.parametrize("count", [48, 49])
def test_includes_looks_at_48_values(count: int) -> None:
    device = SelectorDevice("d", {"names": DeviceAttribute(strings=[f"v{index}" for index in range(count)])})
    selector = compile_selector('device.attributes["d"].names.includes("none")')
    if count == 48:
        assert not selector.matches(device)
    else:
        with pytest.raises(SelectorError, match="cannot be applied to lists longer than 48 values"):
            selector.matches(device)


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        (DeviceAttribute(), "attribute a: unsupported attribute value"),
        (DeviceAttribute(version="1.2"), "attribute a: parse semantic version: No Major.Minor.Patch elements found"),
        (DeviceAttribute(version="1.02.0"), "Minor number must not contain leading zeroes"),
    ],
)
def test_a_device_with_an_unusable_attribute_satisfies_nothing(attribute: DeviceAttribute, reason: str) -> None:
    device = SelectorDevice("d", {"a": attribute})
    for _ in range(2):
        with pytest.raises(SelectorError, match=reason):
            compile_selector("true").matches(device)


def _nested(levels: int) -> str:
    body = "size('a') > 0"
    for level in range(levels):
        body = f"[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].all(x{level}, {body})"
    return body


def test_an_endless_selector_stops_at_the_cost_limit() -> None:
    with pytest.raises(SelectorError, match="operation cancelled: actual cost limit exceeded"):
        compile_selector(_nested(7)).matches(GPU)
    with pytest.raises(CompileError, match="too complex, exceeds cost limit"):
        check_selector(_nested(7))


def test_what_the_runtime_alone_knows_stops_too() -> None:
    selector = compile_selector(_nested(6).replace("size('a') > 0", "timestamp(0) == timestamp(0)"))
    assert not selector.counts_cost
    with pytest.raises(SelectorError, match="operation cancelled: actual cost limit exceeded"):
        selector.matches(GPU)


def test_a_pattern_cannot_hang() -> None:
    device = SelectorDevice("d", {"a": DeviceAttribute(string="a" * 63 + "!")})
    assert not compile_selector('device.attributes["d"].a.matches("^(a+)+$")').matches(device)
    assert compile_selector('device.attributes["d"].a.find("(a+)+$") == ""').matches(device)


# Expression, estimate and actual cost, measured with Kubernetes 1.36 for the device below.
COSTS: list[tuple[str, int, int]] = [
    ('device.attributes["d"].i > 4.5', 5, 5),
    ('device.attributes["d"].s + "a" == "b"', 12, 7),
    ('device.attributes["d"].b ? device.attributes["d"].f : true', 8, 7),
    ('device.attributes["d"].is.all(x, x > 0)', 325, 20),
    ('device.attributes["d"].is.exists(x, x > "a" || x == 2)', 517, 29),
    ('device.attributes["d"].is.exists_one(x, x == 1)', 262, 14),
    ('device.attributes["d"].is.map(x, x + 1) == [4,2,3]', 922, 48),
    ('device.attributes["d"].is.filter(x, x > 1) == [3,2]', 986, 38),
    ('device.attributes["d"].ss.join(",") == "b,a"', 12, 6),
    ("device.attributes[device.driver].b", 6, 5),
    ('[device.driver][0] == "d"', 14, 15),
    ('"d" in [device.driver]', 13, 13),
    ('device.driver in ["a","d"]', 14, 2),
    ('has(device.attributes["d"].nope) && device.attributes["d"].nope > 1', 8, 3),
    ('device.capacity["d"].m.add(quantity("1Gi")).isLessThan(quantity("82Gi"))', 8, 8),
    ('device.attributes["d"].v == semver("1.2.3-rc.1")', 12, 6),
    ('device.attributes["d"].s.contains("world")', 11, 6),
    ('device.attributes["d"].s.matches("^hello.*x$")', 25, 10),
    ('device.attributes["d"].s.find("w[a-z]+") == "world"', 19, 9),
    ('device.attributes["d"].s.split(" ")[0] == "hello"', 19, 10),
    ('cel.bind(x, device.attributes["d"], x.b && x.i == 5)', 18, 8),
    ('cel.bind(x, device.attributes["d"].nope, true)', 14, 0),
    ('device.attributes["d"].is.all(x, cel.bind(y, x + 1, y > 0))', 1093, 26),
    ("[1,2,3].exists(x, [1,2,3].exists(y, x + y == 5))", 128, 62),
    ('device.attributes["d"].is + [1] == [3,1,2,1]', 26, 6),
    ('(device.attributes["d"].b ? device.attributes : device.attributes)["d"].b', 8, 7),
]
COSTED = SelectorDevice(
    "d",
    {
        "b": DeviceAttribute(bool_=True),
        "f": DeviceAttribute(bool_=False),
        "i": DeviceAttribute(int_=5),
        "s": DeviceAttribute(string="hello world, x"),
        "v": DeviceAttribute(version="1.2.3-rc.1"),
        "is": DeviceAttribute(ints=[3, 1, 2]),
        "ss": DeviceAttribute(strings=["b", "a"]),
    },
    {"m": DeviceCapacity(value="80Gi")},
)


@pytest.mark.parametrize(("expression", "estimate", "actual"), COSTS)
def test_costs_what_it_costs_upstream(expression: str, estimate: int, actual: int) -> None:
    selector = compile_selector(expression)
    assert (selector.max_cost, selector.evaluate(COSTED)[1]) == (estimate, actual)


@pytest.mark.parametrize(
    ("expression", "estimate"),
    [
        ('sets.contains(device.attributes["d"].is, [1])', 79),
        ('device.attributes["d"].ss.sort() == ["a","b"]', 8628),
        ("lists.range(3) == [0,1,2]", 25),
        ('isURL("http://a") && url("http://a").getHost() == "a"', 4),
        ('ip("1.2.3.4").family() == 4', 3),
    ],
)
def test_estimates_what_runs_elsewhere(expression: str, estimate: int) -> None:
    assert compile_selector(expression).max_cost == estimate


def test_the_same_selector_serves_the_same_question() -> None:
    arguments: dict[str, Any] = {"features": Features(), "environment": EnvironmentType.STORED}
    assert compile_selector("true", **arguments) is compile_selector("true", **arguments)
