"""How long a node takes to resolve 10,000 CDI devices to one container's edits, its specs being read, and to read them.

Ten specs of 1,000 devices as a driver writes them: two device nodes, a variable and a mount each, and edits of the
spec as a whole. A resolution looks at every file (nothing has changed), finds each device by its name and merges all
edits.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fairlead.devices.cdi import (
    ContainerEdits,
    Device,
    DeviceNode,
    Hook,
    Mount,
    Spec,
    SpecCache,
    apply_to_oci,
    qualified_name,
    write_spec,
)
from harness.report import Figure, arguments, report


def _spec(number: int, devices: int) -> Spec:
    made = []
    for device in range(devices):
        path = f"/dev/accel/card{number}-{device}"
        edits = ContainerEdits(
            env=[f"ACCEL_VISIBLE_DEVICES={device}"],
            device_nodes=[
                DeviceNode(path, type="c", major=240, minor=device, permissions="rw"),
                DeviceNode(f"{path}-mgmt", type="c", major=241, minor=device, permissions="rw"),
            ],
            mounts=[Mount(f"/run/accel/{device}", f"/run/accel/{device}", options=["ro", "nosuid", "bind"])],
        )
        made.append(
            Device(f"card{device}", annotations={"accel.example/serial": f"SN{device:08}"}, container_edits=edits)
        )
    common = ContainerEdits(
        mounts=[
            Mount(f"/usr/lib/accel/lib{n}.so", f"/usr/lib/accel/lib{n}.so", options=["ro", "bind"]) for n in range(20)
        ],
        hooks=[Hook("createContainer", "/usr/bin/accel-hook", args=["accel-hook", "ldcache"])],
    )
    return Spec("", f"accel{number}.example/card", devices=made, container_edits=common)


def _median_ms(call: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--specs", type=int, default=10)
    parser.add_argument("--devices", type=int, default=1000, help="devices of one spec")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        report(_measure(Path(folder), options.specs, options.devices, options.runs), options.json)


def _measure(folder: Path, count: int, devices: int, runs: int) -> list[Figure]:
    specs = [_spec(number, devices) for number in range(count)]
    written_ms = _median_ms(
        lambda: [write_spec(folder / "json", spec.kind.replace("/", "-"), spec) for spec in specs], 3
    )
    write_spec(folder / "yaml", "one.yaml", specs[0])
    names = [qualified_name(spec.kind, device.name) for spec in specs for device in spec.devices]
    time.sleep(0.2)  # until the files' stamps are old enough to be trusted
    cache = SpecCache([folder / "json"])
    cache.refresh()
    edits = cache.resolve(names)
    if len(edits.device_nodes) != 2 * len(names) or len(edits.hooks) != count:
        raise SystemExit("the edits are not those of all devices")
    size_mib = sum(path.stat().st_size for path in (folder / "json").iterdir()) / 2**20
    return [
        Figure("devices", len(names), ""),
        Figure("specs as JSON", size_mib, "MiB"),
        Figure("resolve and merge all, specs read", _median_ms(lambda: cache.resolve(names), runs), "ms", goal=200),
        Figure("resolve one, specs read", _median_ms(lambda: cache.resolve(names[:1]), runs), "ms"),
        Figure("apply all to an OCI configuration", _median_ms(lambda: apply_to_oci({}, edits), runs), "ms"),
        Figure("read and check all, JSON", _median_ms(lambda: SpecCache([folder / "json"]).refresh(), runs), "ms"),
        Figure(f"read and check {devices}, YAML", _median_ms(lambda: SpecCache([folder / "yaml"]).refresh(), 3), "ms"),
        Figure("write all, JSON, each to the disk", written_ms, "ms"),
    ]


if __name__ == "__main__":
    main()
