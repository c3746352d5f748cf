"""The rules of a spec that its types cannot hold. Every broken one is found, with its path in the file.

Source: SPEC.md 1.1.0, the published schema and the reference implementation. The schema is loose (no name rules, no env
form, empty edits, any string as a path); the reference implementation checks more, and the prose asks for more still.
A rule here is the strictest of the three, with these decisions where they contradict each other:

- Names: see `names`. Versions: see `versions`.
- A device's `containerEdits` is optional in the prose, required in the schema, and must not be empty in the reference
  implementation: it must be there and not be empty. A spec's own may be absent or empty.
- `permissions` are letters of "rwm", or "none" for no access at all (prose of the JSON definition).
- `major` and `minor` are int64 in the schema; negative ones name no device and are refused.
- `fileMode` is absent from the schema: here, the 16 bits of a mode (permission bits, with or without the file type).
- A hook's name is one of the six of the OCI runtime specification; the prose leaves runtimes free to have more, but the
  reference implementation refuses them, so such a spec would fail in every runtime. Its path must be absolute and its
  timeout greater than zero (prose; neither schema nor reference implementation checks).
- Paths: of a device node absolute; of a mount, the container's absolute and the host's too where it is a bind mount
  (another type may have a source that is no path, such as "tmpfs"). Paths are those of Linux.
- Interface names follow the kernel: at most 15 bytes, no "/", ":" or white space, not "." or "..". The container's and
  the host's are each unique among the edits they stand in.
- `closID` must be a file name or "/" (the root class): the reference implementation stops at 4,096 bytes, a file name
  at 255.
- Annotations follow the rules of Kubernetes: keys are qualified names in any case, together at most 256 KiB.
- Nothing that a process is started with may contain a NUL.
- The same environment variable, device node or mount twice is allowed: the last one counts when edits are applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fairlead.devices.cdi.errors import InvalidName, Problem, SpecError
from fairlead.devices.cdi.names import check_device, parse_kind
from fairlead.devices.cdi.spec import ContainerEdits, Device, DeviceNode, Hook, IntelRdt, Mount, NetDevice, Spec
from fairlead.devices.cdi.versions import check_version

HOOK_NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NODE_TYPES = ("b", "c", "u", "p")
NO_PERMISSIONS = "none"
MAX_ANNOTATIONS_BYTES = 256 * 1024

_MAX_INT64 = 2**63 - 1
_MAX_UINT32 = 2**32 - 1
_MAX_MODE = 0o177777
_MAX_INTERFACE_BYTES = 15
_MAX_FILE_NAME_BYTES = 255

_ANNOTATION_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?")
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PERMISSIONS = re.compile(r"[rwm]*|none")


def validate(spec: Spec, source: str = "spec") -> None:
    """Raises SpecError with every problem of the spec; `source` is what the message calls it."""
    problems = find_problems(spec)
    if problems:
        raise SpecError(source, problems)


def find_problems(spec: Spec) -> list[Problem]:
    """Every rule that the spec breaks; empty for a valid one."""
    found = check_version(spec)
    try:
        parse_kind(spec.kind)
    except InvalidName as error:
        found.append(Problem("kind", str(error)))
    found.extend(_annotations(spec.annotations, "annotations"))
    found.extend(edit_problems(spec.container_edits, "containerEdits"))
    if not spec.devices:
        found.append(Problem("devices", "expected at least one device, got none"))
    first_index: dict[str, int] = {}
    for index, device in enumerate(spec.devices):
        path = f"devices[{index}]"
        first = first_index.setdefault(device.name, index)
        if first != index:
            found.append(Problem(f"{path}.name", f'"{device.name}" is already the name of devices[{first}]'))
        found.extend(device_problems(device, path))
    return found


def device_problems(device: Device, path: str) -> Iterator[Problem]:
    """Every rule that one device breaks."""
    try:
        check_device(device.name)
    except InvalidName as error:
        yield Problem(f"{path}.name", str(error))
    yield from _annotations(device.annotations, f"{path}.annotations")
    if is_empty(device.container_edits):
        yield Problem(f"{path}.containerEdits", "expected at least one edit, got none: the device would do nothing")
    yield from edit_problems(device.container_edits, f"{path}.containerEdits")


def is_empty(edits: ContainerEdits) -> bool:
    """Whether the edits change nothing."""
    return not (
        edits.env
        or edits.device_nodes
        or edits.net_devices
        or edits.hooks
        or edits.mounts
        or edits.intel_rdt is not None
        or edits.additional_gids
    )


def edit_problems(edits: ContainerEdits, path: str) -> Iterator[Problem]:
    """Every rule that these edits break."""
    yield from _env(edits.env, f"{path}.env")
    for index, node in enumerate(edits.device_nodes):
        yield from _device_node(node, f"{path}.deviceNodes[{index}]")
    if edits.net_devices:
        yield from _net_devices(edits.net_devices, f"{path}.netDevices")
    for index, hook in enumerate(edits.hooks):
        yield from _hook(hook, f"{path}.hooks[{index}]")
    for index, mount in enumerate(edits.mounts):
        yield from _mount(mount, f"{path}.mounts[{index}]")
    if edits.intel_rdt is not None:
        yield from _intel_rdt(edits.intel_rdt, f"{path}.intelRdt")
    for index, gid in enumerate(edits.additional_gids):
        yield from _number(gid, _MAX_UINT32, f"{path}.additionalGids[{index}]")


def _env(env: Sequence[str], path: str) -> Iterator[Problem]:
    for index, entry in enumerate(env):
        if entry.find("=") <= 0:
            yield Problem(f"{path}[{index}]", f'expected NAME=VALUE, got "{entry}"')
        yield from _no_nul(entry, f"{path}[{index}]")


def _device_node(node: DeviceNode, path: str) -> Iterator[Problem]:
    yield from _absolute(node.path, f"{path}.path")
    if node.host_path:
        yield from _absolute(node.host_path, f"{path}.hostPath")
    if node.type and node.type not in NODE_TYPES:
        yield Problem(f"{path}.type", f'expected one of {", ".join(NODE_TYPES)}, got "{node.type}"')
    if not _PERMISSIONS.fullmatch(node.permissions):
        expected = f'letters of "rwm", or "{NO_PERMISSIONS}"'
        yield Problem(f"{path}.permissions", f'expected {expected}, got "{node.permissions}"')
    yield from _number(node.major, _MAX_INT64, f"{path}.major")
    yield from _number(node.minor, _MAX_INT64, f"{path}.minor")
    if node.file_mode is not None:
        yield from _number(node.file_mode, _MAX_MODE, f"{path}.fileMode")
    if node.uid is not None:
        yield from _number(node.uid, _MAX_UINT32, f"{path}.uid")
    if node.gid is not None:
        yield from _number(node.gid, _MAX_UINT32, f"{path}.gid")


def _net_devices(devices: Sequence[NetDevice], path: str) -> Iterator[Problem]:
    on_host: dict[str, int] = {}
    in_container: dict[str, int] = {}
    for index, device in enumerate(devices):
        for name, seen, key in (
            (device.host_interface_name, on_host, "hostInterfaceName"),
            (device.name, in_container, "name"),
        ):
            at = f"{path}[{index}].{key}"
            yield from _interface_name(name, at)
            first = seen.setdefault(name, index)
            if first != index:
                yield Problem(at, f'"{name}" is already that of {path}[{first}]')


def _interface_name(name: str, path: str) -> Iterator[Problem]:
    if not name:
        yield Problem(path, "expected the name of a network interface, got an empty string")
        return
    bad = name in (".", "..") or any(c in "/:\0" or c.isspace() for c in name)
    if bad or len(name.encode(errors="surrogatepass")) > _MAX_INTERFACE_BYTES:
        rule = f'at most {_MAX_INTERFACE_BYTES} bytes without "/", ":" and white space'
        yield Problem(path, f'"{name}" is not the name of a network interface: {rule}')


def _hook(hook: Hook, path: str) -> Iterator[Problem]:
    if hook.hook_name not in HOOK_NAMES:
        yield Problem(f"{path}.hookName", f'expected one of {", ".join(HOOK_NAMES)}, got "{hook.hook_name}"')
    yield from _absolute(hook.path, f"{path}.path")
    for index, argument in enumerate(hook.args):
        yield from _no_nul(argument, f"{path}.args[{index}]")
    yield from _env(hook.env, f"{path}.env")
    if hook.timeout is not None and not 0 < hook.timeout <= _MAX_UINT32:
        yield Problem(f"{path}.timeout", f"expected seconds from 1 to {_MAX_UINT32}, got {hook.timeout}")


def _mount(mount: Mount, path: str) -> Iterator[Problem]:
    is_bind = mount.type in ("", "none", "bind") or "bind" in mount.options or "rbind" in mount.options
    if is_bind:
        yield from _absolute(mount.host_path, f"{path}.hostPath")
    elif not mount.host_path:
        yield Problem(f"{path}.hostPath", "expected the source of the mount, got an empty string")
    else:
        yield from _no_nul(mount.host_path, f"{path}.hostPath")
    yield from _absolute(mount.container_path, f"{path}.containerPath")


def _intel_rdt(rdt: IntelRdt, path: str) -> Iterator[Problem]:
    name = rdt.clos_id
    if name == "/":
        return
    if (
        name in (".", "..")
        or any(c in "/\n\0" for c in name)
        or len(name.encode(errors="surrogatepass")) > _MAX_FILE_NAME_BYTES
    ):
        rule = f'a file name of at most {_MAX_FILE_NAME_BYTES} bytes, or "/" for the root class'
        yield Problem(f"{path}.closID", f'expected {rule}, got "{name[:80]}"')


def _annotations(annotations: Mapping[str, str], path: str) -> Iterator[Problem]:
    if not annotations:
        return
    size = sum(
        len(key.encode(errors="surrogatepass")) + len(value.encode(errors="surrogatepass"))
        for key, value in annotations.items()
    )
    if size > MAX_ANNOTATIONS_BYTES:
        yield Problem(path, f"expected at most {MAX_ANNOTATIONS_BYTES} bytes of keys and values, got {size}")
    for key in annotations:
        if reason := _bad_annotation_key(key):
            yield Problem(f"{path}.{key}", reason)


def _bad_annotation_key(key: str) -> str:
    """Why a key is not a qualified name of Kubernetes, [subdomain/]name; empty where it is one."""
    prefix, slash, name = key.lower().rpartition("/")
    if slash and not (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)):
        return f'expected a DNS subdomain of at most 253 characters before the "/", got "{prefix[:80]}"'
    if not (len(name) <= 63 and _ANNOTATION_NAME.fullmatch(name)):
        rule = "at most 63 letters, digits, '-', '_' and '.', a letter or digit first and last"
        return f'expected {rule}, got "{name[:80]}"'
    return ""


def _absolute(path: str, at: str) -> Iterator[Problem]:
    if not path.startswith("/"):
        yield Problem(at, f'expected an absolute path, got "{path}"')
    elif "\0" in path:
        yield from _no_nul(path, at)


def _no_nul(text: str, at: str) -> Iterator[Problem]:
    if "\0" in text:
        yield Problem(at, "contains a NUL character")


def _number(value: int, highest: int, at: str) -> Iterator[Problem]:
    if not 0 <= value <= highest:
        yield Problem(at, f"expected a number from 0 to {highest}, got {value}")
