import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube import cel
from fairlead.kube.cel_values import Version

SPEC = cel.Struct(
    "Spec",
    fields={
        "count": cel.INT,
        "name": cel.STRING,
        "items": cel.ListOf(items=cel.INT),
        "labels": cel.MapOf(values=cel.STRING),
        "memory": cel.QUANTITY,
        "any": cel.DYN,
        "grid": cel.ListOf(items=cel.ListOf(items=cel.INT)),
    },
)
ENVIRONMENT = cel.Environment({"self": SPEC})
SELF = {
    "count": 2,
    "name": "a1b22",
    "items": [3, 1],
    "labels": {"k": "v"},
    "memory": cel.quantity("1Gi"),
    "any": {"x": 1},
    "grid": [[1], [2]],
}


def evaluate(expression: str) -> object:
    return ENVIRONMENT.compile(expression).evaluate({"self": SELF})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("self.count + 1", 3),
        ("self.name.find('[0-9]+')", "1"),
        ("self.name.findAll('[0-9]+', 1)", ["1"]),
        ("self.items.sum() == 4 && self.items.max() == 3 && !self.items.isSorted()", True),
        ("self.labels.all(k, v, k != v)", True),
        ("self.memory.isGreaterThan(quantity('1000M')) && self.memory == quantity('1024Mi')", True),
        ("quantity('1500m').add(quantity('500m')).asInteger()", 2),
        ("sign(quantity('1').sub(3))", -1),
        ("isQuantity('1Gi') && !isQuantity('1GiB')", True),
        ("semver('v1.2', true).compareTo(semver('1.2.0-rc.1'))", 1),
        ("semver('1.2.3').major() == 1 && isSemver('1.2.3') && !isSemver('1.2')", True),
        ("url('https://u@host:8443/p?a=1&a=2').getQuery()['a'].size()", 2),
        ("url('https://[::1]:8443/p').getHostname() + url('http://h').getPort()", "::1"),
        ("ip('fe80::1').isLinkLocalUnicast() && ip('10.0.0.1').family() == 4", True),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/8').containsIP('11.0.0.1')", True),
        ("format.dns1123Label().validate('ok').hasValue()", False),
        ("format.named('dns1123Label').validate('Bad').value().size()", 1),
        ("self.any.x == 1 && self.grid[1][0] == 2", True),
        ("self.?name.orValue('none')", "a1b22"),
    ],
)
def test_evaluates(expression: str, expected: object) -> None:
    assert evaluate(expression) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.nope", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope\n | ....^"),
        ("self.count == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.count +", "Syntax error: mismatched input '<EOF>'"),
        ("nope()", "undeclared reference to 'nope' (in container '')"),
        ("self.memory.isGreaterThan('1')", "found no matching overload for 'isGreaterThan'"),
    ],
)
def test_refuses_at_compile_time(expression: str, message: str) -> None:
    with pytest.raises(cel.CompileError) as error:
        ENVIRONMENT.compile(expression)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.labels.nope", "no such key: nope"),
        ("self.count / 0", "division by zero"),
        ("sign(quantity('x'))", "quantities must match the regular expression"),
        ("self.any.all(x, self.any[x].size() > 0)", "no such overload"),
    ],
)
def test_fails_at_run_time(expression: str, message: str) -> None:
    with pytest.raises(cel.EvaluationError) as error:
        evaluate(expression)
    assert message in str(error.value)


def test_endless_loops_are_cut() -> None:
    digits = "[0,1,2,3,4,5,6,7,8,9]"
    with pytest.raises(cel.BudgetExceeded):
        evaluate(f"{digits}.all(a, {digits}.all(b, {digits}.all(c, {digits}.all(d, {digits}.all(e, a >= 0)))))")


def test_result_types_are_spelled_as_in_go() -> None:
    assert ENVIRONMENT.compile("self.name.findAll('a')").result_type == "list(string)"
    assert ENVIRONMENT.compile("self.any").result_type == "dyn"
    assert ENVIRONMENT.compile("quantity('1')").result_type == "kubernetes.Quantity"


def test_absent_keys_of_marked_maps_are_empty_maps() -> None:
    attributes = cel.MapOf(values=cel.MapOf(values=cel.DYN))
    device = cel.Struct("Device", fields={"attributes": attributes})
    environment = cel.Environment({"device": device}, empty_if_absent=["device.attributes"])
    bindings = {"device": {"attributes": {"a.example": {"x": 1}}}}
    assert environment.compile("device.attributes['b.example'].size()").evaluate(bindings) == 0
    assert environment.compile("device.attributes['a.example'].x").evaluate(bindings) == 1
    assert environment.compile("'b.example' in device.attributes").evaluate(bindings) is False
    with pytest.raises(cel.EvaluationError, match="no such key: y"):
        environment.compile("device.attributes['b.example'].y").evaluate(bindings)


numbers = st.integers(0, 30)
versions = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}" + (f"-{pre}" if pre else ""),
    numbers, numbers, numbers, st.sampled_from(["", "alpha", "alpha.1", "1", "rc.10", "rc.2"]),
)  # fmt: skip


@given(st.lists(versions, min_size=3, max_size=3))
def test_versions_are_totally_ordered(texts: list[str]) -> None:
    low, middle, high = sorted(map(Version.parse, texts))
    assert low <= middle <= high and low <= high
    assert Version.parse(str(low)) == low
