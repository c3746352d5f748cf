"""Files become specs only if everything about them is right; otherwise every mistake is named with its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from devices.cdi.cdi_cases import device, spec
from devices.cdi.spec_strategies import specs as any_specs
from fairlead.devices.cdi import ContainerEdits, DeviceNode, Spec, SpecError, read_spec
from fairlead.devices.cdi import read as reading
from fairlead.devices.cdi.read import parse_spec, read_stamped
from fairlead.devices.cdi.write import encode_json, encode_yaml
from patience import PATIENCE_S

GOOD = """
cdiVersion: "0.3.0"
kind: vendor.com/device
devices:
  - name: "dev1"
    containerEdits:
      env:
      - "FOO=BAR"
"""


def problems(text: str | bytes, *, is_yaml: bool = True) -> list[str]:
    with pytest.raises(SpecError) as error:
        parse_spec(text.encode() if isinstance(text, str) else text, is_yaml=is_yaml)
    return [str(problem) for problem in error.value.problems]


def paths(text: str | bytes, *, is_yaml: bool = True) -> list[str]:
    return [said.partition(":")[0] for said in problems(text, is_yaml=is_yaml)]


def as_json(text: str) -> str:
    return json.dumps(yaml.safe_load(text))


def plain(made: Spec) -> object:
    return msgspec.json.decode(msgspec.json.encode(made))


@pytest.mark.parametrize("is_yaml", [True, False])
def test_a_good_spec_is_read(is_yaml: bool) -> None:
    made = parse_spec((GOOD if is_yaml else as_json(GOOD)).encode(), is_yaml=is_yaml)
    assert plain(made) == plain(spec(device("dev1"), version="0.3.0"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("xyzzy: garbled", ["xyzzy", "cdiVersion", "kind", "devices"]),
        (GOOD.replace("cdiVersion", "#"), ["cdiVersion"]),
        (GOOD.replace("0.3.0", "0.0.0"), ["cdiVersion"]),
        (GOOD.replace("kind", "#"), ["kind"]),
        (GOOD.replace("vendor.com/", "vendor.com-/"), ["kind"]),
        (GOOD.replace("/device", "/device="), ["kind"]),
        (GOOD.partition("    containerEdits")[0], ["devices[0].containerEdits"]),
        (GOOD.partition("devices")[0], ["devices"]),
        (GOOD + '  - name: "dev1"\n    containerEdits: {env: [A=B]}\n', ["devices[1].name"]),
        (GOOD.replace('"dev1"', "0"), ["devices[0].name"]),
        (GOOD.replace('"dev1"', "010"), ["devices[0].name"]),
        (GOOD.replace('"dev1"', "yes"), ["devices[0].name"]),
        (GOOD.replace('"0.3.0"', "1.0"), ["cdiVersion"]),
        (GOOD.replace('- "FOO=BAR"', ""), ["devices[0].containerEdits"]),
        (GOOD.replace('- "FOO=BAR"', "-"), ["devices[0].containerEdits.env[0]"]),
        (GOOD.replace('"dev1"', ""), ["devices[0].name"]),
        ("- a", [""]),
        ("text", [""]),
        ("3", [""]),
    ],
)
def test_what_is_wrong_is_named_alike_in_both_forms(text: str, expected: list[str]) -> None:
    found = paths(text)
    assert [path if path in expected else "" for path in found] == expected
    # JSON has the same mistakes with the same words.
    assert problems(as_json(text), is_yaml=False) == problems(text)


def test_all_mistakes_are_found_at_once() -> None:
    text = """
cdiVersion: 0.3.0
kind: vendor.com/-
annotations: {ok: "1", count: 3}
devices:
- name: 7
  containerEdits: {env: [A=B, x, 3], deviceNodes: [{type: c}, 5, {path: dev, major: "1", fileMode: 0o666}]}
- name: a b
  contanerEdits: {}
- hooks
containerEdits:
  hooks: [{hookName: onStart, path: hook, timeout: 0, Env: []}]
  additionalGIDs: [1]
  intelRdt: {enableCMT: true, closID: ..}
  mounts: {}
"""
    assert paths(text) == [
        "annotations.count",
        "devices[0].name",
        "devices[0].containerEdits.env[2]",
        "devices[0].containerEdits.deviceNodes[0].path",
        "devices[0].containerEdits.deviceNodes[1]",
        "devices[0].containerEdits.deviceNodes[2].major",
        "devices[1].contanerEdits",
        "devices[2]",
        "containerEdits.hooks[0].Env",
        "containerEdits.additionalGIDs",
        "containerEdits.intelRdt.enableCMT",
        "containerEdits.mounts",
        "cdiVersion",
        "kind",
        "containerEdits.hooks[0].hookName",
        "containerEdits.hooks[0].path",
        "containerEdits.hooks[0].timeout",
        "containerEdits.intelRdt.closID",
        "devices[0].containerEdits.env[1]",
        "devices[0].containerEdits.deviceNodes[2].path",
        "devices[1].name",
        "devices[1].containerEdits",
    ]
    said = dict(line.split(": ", 1) for line in problems(text))
    assert said["devices[1].contanerEdits"] == "unknown field; did you mean containerEdits?"
    assert said["containerEdits.additionalGIDs"] == "unknown field; did you mean additionalGids?"
    assert "1.1.0 dropped it" in said["containerEdits.intelRdt.enableCMT"]
    assert said["devices[0].name"] == "expected text, got a number (7); put it in quotes"
    assert said["containerEdits.mounts"] == "expected a list, got an object"
    assert said["devices[2]"] == "expected an object, got text (hooks)"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"cdiVersion":"0.3.0","cdiVersion":"0.3.0","kind":"a/b","devices":[]}', "cdiVersion"),
        ('{"cdiVersion":"0.3.0","kind":"a/b","devices":[{"name":"a","containerEdits":{"env":["A=1"],"env":["A=1"]}}]}',
         "devices[0].containerEdits.env"),
        ('{"kind":"a/b","devices":[],"annotations":{"a":"1","b":"2","a":"1"}}', "annotations.a"),
        ('{"kind":"a/b","devices":[],"annotations":{"\\u0061":"1","a":"1"}}', "annotations.a"),
    ],
)  # fmt: skip
def test_duplicate_keys_are_refused_in_both_forms(text: str, path: str) -> None:
    for is_yaml in (True, False):
        if is_yaml and "\\u" in text:
            continue
        found = [said for said in problems(text, is_yaml=is_yaml) if "twice" in said]
        assert len(found) == 1
        assert found[0].startswith(f"{path}: ")


def test_a_duplicate_inside_a_value_that_a_duplicate_replaced_is_found_too() -> None:
    text = '{"annotations":{"a":"1","a":"2"},"annotations":{}}'
    assert sum("twice" in said for said in problems(text, is_yaml=False)) == 2


@pytest.mark.parametrize("escaped", ["\\u003c", "\\u00e9", "é", "😀", "\\n", "\\\\/", "\\\\ud83d", "\\u0085"])
def test_json_with_escapes_is_read_as_what_it_means(escaped: str) -> None:
    """Go writes <, > and & as escapes: such a file is no duplicate."""
    text = (
        f'{{"cdiVersion":"0.3.0","kind":"a/b","devices":[{{"name":"x","containerEdits":{{"env":["A={escaped}"]}}}}]}}'
    )
    made = parse_spec(text.encode())
    assert made.devices[0].container_edits.env[0] == json.loads(text)["devices"][0]["containerEdits"]["env"][0]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("\\/", "line 2, column 21: \\/ is JSON, but runtimes read it as YAML"),
        ("\\\\\\/", "column 23: \\/ is JSON"),
        ("\\ud83d\\ude00", "column 21: \\ud83d is JSON"),
        ("\x7f", "column 21: character U+007F is JSON"),
        ("é\x85", "column 22: character U+0085 is JSON"),
        ("\ufffe", "column 21: character U+FFFE is JSON"),
    ],
)
def test_json_that_runtimes_cannot_read_as_yaml_is_refused(written: str, said: str) -> None:
    text = '{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"x","containerEdits":{"env":["A=1"]}}],\n'
    (found,) = problems(f'{text}"annotations":{{"a":"{written}"}}}}', is_yaml=False)
    assert said in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("{", "line 1, column 2: not JSON"),
        ('{"a": NaN}', "NaN is not a JSON value"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ("[" * 100_000, "nested too deep"),
        (b"\xff{}", "not UTF-8"),
        ("\ufeff{}", "not JSON"),
        ('{"a": "\\ud800"}', "\\ud800 is JSON, but runtimes read it as YAML"),
        (f'{{"a": {"9" * 5000}}}', "not JSON"),
    ],
)
def test_what_is_not_json_is_one_clear_problem(text: str | bytes, said: str) -> None:
    assert said in problems(text, is_yaml=False)[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("--- \n", "is empty"),
        ("a: [", "not YAML"),
        ("a: b: c", "line 1, column 5: not YAML"),
        ("\ta: 1", "not YAML"),
        (b"a: \xff", "not UTF-8"),
        ("a: \0", "not YAML"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: expected one document, found a second one"),
        ("[" * 100_000, "nested more than 32 levels deep"),
        ("- " * 100_000, "nested more than 32 levels deep"),
        ("{a: " * 50_000, "nested more than 32 levels deep"),
        ("a: &x [*x]", "alias *x refers to nothing before it"),
        ("a: *y", "alias *y refers to nothing before it"),
        ("<<: {a: b}", "merge keys"),
        ("a: !!python/object:os.system x", "is not understood: leave it out"),
        ("a: !!binary aGVsbG8=", "is not understood: leave it out"),
        ("a: !mine {b: c}", "is not understood: leave it out"),
        ("[a]: b", "a key must be text"),
        ("? {a: b}\n: c", "a key must be text"),
    ],
)
def test_what_is_no_plain_yaml_is_one_clear_problem(text: str | bytes, said: str) -> None:
    assert said in problems(text)[0]


def test_a_small_file_does_not_unfold_into_a_large_one() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than 2000000 values" in problems("\n".join(levels))[0]


@pytest.mark.parametrize(
    ("written", "is_text"),
    [
        *(
            (number, False)
            for number in ("0", "+1", "-0", "1_000", "0x1F", "0X1f", "0b1", "0o17", "017", "08", ".5", "5.")
        ),
        *(
            (number, False)
            for number in ("1e3", "1E+3", "0.1e1_0", "0x_1", ".inf", "-.Inf", ".NaN", "y", "No", "on", "TRUE")
        ),
        *(
            (text, True)
            for text in ("1.2.3", "1:20", "0x", "1e", "e3", "_1", "__", "tRUE", "2026-11-28", "=", "0b2", "-.")
        ),
    ],
)
def test_bare_words_are_text_where_the_reference_takes_them_for_text(written: str, is_text: bool) -> None:
    """As its YAML 1.1 parser resolves them; what is no text must be quoted."""
    text = f"{GOOD}    hooks: [{{hookName: poststop, path: /x, args: [{written}]}}]\n".replace(
        "    hooks", "      hooks"
    )
    if is_text:
        assert parse_spec(text.encode(), is_yaml=True).devices[0].container_edits.hooks[0].args == [written]
    else:
        assert "put it in quotes" in problems(text)[0]


def test_aliases_and_every_way_to_write_numbers() -> None:
    text = """
cdiVersion: "0.5.0"
kind: vendor.com/device
devices:
- name: a
  containerEdits: &edits
    deviceNodes:
    - {path: /dev/a, type: c, major: 0x1f, minor: 1_0, fileMode: 0666, hostPath: /dev/b}
    - {path: /dev/c, type: c, major: 5, minor: 0b11, fileMode: 0o644}
- {name: !!str 1, containerEdits: *edits}
"""
    made = parse_spec(text.encode(), is_yaml=True)
    first, second = made.devices[0].container_edits.device_nodes
    assert (first.major, first.minor, first.file_mode) == (31, 10, 0o666)
    assert (second.major, second.minor, second.file_mode) == (5, 3, 0o644)
    assert made.devices[1].name == "1"
    assert made.devices[1].container_edits == made.devices[0].container_edits


@given(any_specs())
def test_specs_survive_both_forms(made: Spec) -> None:
    for text, is_yaml in ((encode_json(made), False), (encode_yaml(made), True)):
        again = parse_spec(text, is_yaml=is_yaml)
        assert plain(again) == plain(made)


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_do_anything_but_make_a_spec_or_an_error(raw: bytes, is_yaml: bool) -> None:
    with pytest.raises(SpecError) as error:
        parse_spec(raw, is_yaml=is_yaml)
    assert error.value.problems


@given(any_specs(), st.booleans(), st.data())
def test_no_truncated_file_is_taken_for_a_whole_one(made: Spec, is_yaml: bool, data: st.DataObject) -> None:
    text = encode_yaml(made) if is_yaml else encode_json(made)
    cut = text[: data.draw(st.integers(0, len(text) - 2))]
    try:
        left = parse_spec(cut, is_yaml=is_yaml)
    except SpecError:
        return
    # YAML has no end: a cut may leave a valid, smaller document. JSON never does.
    assert is_yaml
    assert left.kind == made.kind


def test_a_file_is_read_by_its_extension(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "a.json").write_text(as_json(GOOD))
    (tmp_path / "b.json").write_text(GOOD)
    (tmp_path / "a.yml").write_text(GOOD)
    assert read_spec(tmp_path / "a.yaml") == read_spec(tmp_path / "a.json")
    with pytest.raises(SpecError, match=r"b\.json: line 2, column 1: not JSON"):
        read_spec(tmp_path / "b.json")
    with pytest.raises(SpecError, match=r"a\.yml: expected a file name that ends with \.json or \.yaml"):
        read_spec(tmp_path / "a.yml")
    with pytest.raises(FileNotFoundError):
        read_spec(tmp_path / "missing.json")


def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "null.json").symlink_to("/dev/null")
    (tmp_path / "loop.json").symlink_to("loop.json")
    for name, said in (("pipe", "ordinary"), ("folder", "ordinary"), ("null", "ordinary"), ("loop", "symbolic")):
        with pytest.raises(SpecError, match=said):
            read_spec(tmp_path / f"{name}.json")


def test_a_huge_file_is_refused_before_it_is_all_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    with pytest.raises(SpecError, match="is larger than 33554432 bytes"):
        read_spec(path)


def test_a_spec_that_is_replaced_while_it_is_read_is_read_whole(tmp_path: Path) -> None:
    """A writer that renames, again and again: a reader gets one of its texts, never a mixture and never nothing."""
    path = tmp_path / "x.json"
    texts = [encode_json(spec(*[device(f"{letter}{n}") for n in range(500)])) for letter in "ab"]
    path.write_bytes(texts[0])
    stop = threading.Event()

    def replace() -> None:
        turn = 0
        while not stop.is_set():
            turn = 1 - turn
            (tmp_path / "new").write_bytes(texts[turn])
            (tmp_path / "new").rename(path)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(60):
            devices = read_stamped(path)[0].devices
            assert len(devices) == 500
            assert len({made.name[0] for made in devices}) == 1
    finally:
        stop.set()
        writer.join()


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text("{")
    looked = os.fstat
    looks = 0

    def finish_after_the_first(descriptor: int) -> os.stat_result:
        nonlocal looks
        looks += 1
        found = looked(descriptor)
        if looks == 1:
            with open(path, "r+") as file:
                file.write(as_json(GOOD))
        return found

    monkeypatch.setattr(reading.os, "fstat", finish_after_the_first)
    assert read_spec(path).kind == "vendor.com/device"
    assert looks == 4


def test_a_file_that_never_rests_is_an_error_and_no_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text(as_json(GOOD))
    looked = os.fstat

    def touch_first(descriptor: int) -> os.stat_result:
        with open(path, "ab") as file:
            file.write(b"\n")
        return looked(descriptor)

    monkeypatch.setattr(reading.os, "fstat", touch_first)
    with pytest.raises(SpecError, match="changes while it is read"):
        read_spec(path)


def test_a_deeply_nested_file_does_not_end_the_process(tmp_path: Path) -> None:
    """In a process of its own: a stack that overflows in C takes the process with it."""
    for name, text in (("a.yaml", "[" * 500_000), ("b.yaml", "a: {" * 200_000), ("c.json", '{"a":' * 500_000)):
        (tmp_path / name).write_text(text)
        code = f"from fairlead.devices.cdi import read_spec\nread_spec({str(tmp_path / name)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 1
        assert "SpecError" in done.stderr


@pytest.mark.parametrize("field", ["containerEdits", "annotations"])
def test_null_is_absent(field: str) -> None:
    for text, is_yaml in ((f"{GOOD}{field}:\n", True), (as_json(f"{GOOD}{field}:\n"), False)):
        assert plain(parse_spec(text.encode(), is_yaml=is_yaml)) == plain(spec(device("dev1"), version="0.3.0"))


def test_values_are_kept_as_written() -> None:
    made = ContainerEdits(device_nodes=[DeviceNode("/dev/x", file_mode=0, uid=0, gid=0)])
    again = parse_spec(encode_json(spec(device("d", made))))
    node = again.devices[0].container_edits.device_nodes[0]
    assert (node.file_mode, node.uid, node.gid) == (0, 0, 0)
