"""Power and energy of real exporters' series, device by device."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server_side.made import history
from fairlead.bench.server_side.energy import devices_of, energy_of, together
from fairlead.bench.server_side.power_page import device_of, power_reader

NAN = math.nan
DCGM = b"""# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",Hostname="n1",modelName="NVIDIA H100",pod="llama-0"} 350.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-b",Hostname="n1",modelName="NVIDIA H100",pod="other-0"} 90
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-a",Hostname="n1",GPU_I_ID="1",pod="llama-0"} 2000000
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-a",Hostname="n1",GPU_I_ID="2",pod="llama-0"} 2000000
"""


def read(page: bytes, **labels: str | tuple[str, ...]) -> dict[str, float]:
    return dict(power_reader(labels)(page, False).values)


def test_nvidias_a_gpu_in_instances_is_one_gpu() -> None:
    assert read(DCGM) == {
        "accelerators:joules:GPU-a": 2000.0, "accelerators:watts:GPU-a": 350.5, "accelerators:watts:GPU-b": 90.0,
    }  # fmt: skip


def test_labels_choose_devices() -> None:
    assert set(read(DCGM, pod="llama-*")) == {"accelerators:joules:GPU-a", "accelerators:watts:GPU-a"}
    assert set(read(DCGM, gpu=("1", "7"))) == {"accelerators:watts:GPU-b"}
    assert read(DCGM, Hostname="n2") == {} == read(DCGM, nothing="x")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            b'gpu_energy_consumed{gpu_id="0",serial_number="692",hostname="h"} 5e6\n'
            b'gpu_package_power{gpu_id="0",serial_number="692",hostname="h"} 140\n',
            {"accelerators:joules:692": 5.0, "accelerators:watts:692": 140.0},
        ),
        (
            b'furiosa_npu_hw_power{arch="rngd",core="0-7",device="npu0",label="rms",uuid="u0"} 47.9\n'
            b'furiosa_npu_hw_power{arch="rngd",core="0-7",device="npu0",label="peak",uuid="u0"} 99\n',
            {"accelerators:watts:u0": 47.9},
        ),
        (b'habanalabs_power_mW{device="0",node="n"} 98000\n', {"accelerators:watts:n/0": 98.0}),
        (
            b'nv_gpu_power_usage{gpu_uuid="GPU-x"} 77\nnv_energy_consumption{gpu_uuid="GPU-x"} 123.5\n',
            {"accelerators:watts:GPU-x": 77.0, "accelerators:joules:GPU-x": 123.5},
        ),
        (
            b'kepler_node_gpu_joules_total{gpu="0",gpu_uuid="GPU-x",vendor="nvidia"} 9\n'
            b'kepler_node_cpu_joules_total{zone="package",node_name="n"} 5\n'
            b'kepler_node_cpu_joules_total{zone="core",node_name="n"} 4\n'
            b'kepler_node_cpu_joules_total{zone="dram",node_name="n"} 2\n',
            {"accelerators:joules:GPU-x": 9.0, "hosts:joules:n/package": 5.0, "hosts:joules:n/dram": 2.0},
        ),
        (
            b'kepler_node_gpu_joules_total{instance="n",mode="dynamic"} 3\n'
            b'kepler_node_gpu_joules_total{instance="n",mode="idle"} 4\n'
            b'kepler_node_package_joules_total{instance="n",mode="dynamic"} 5\n'
            b'kepler_node_package_joules_total{instance="n",mode="idle"} 6\n',
            {"accelerators:joules:n": 7.0, "hosts:joules:n/package": 11.0},
        ),
        (
            b'DCGM_FI_DEV_POWER_USAGE{UUID="a"} 140737488355328.0\n'
            b'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="a"} 9223372036854775794\n'
            b'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="b"} 140737488355328\n',
            {},
        ),
        (b"DCGM_FI_DEV_POWER_USAGE{gpu=\"0\"} NaN\nDCGM_FI_DEV_POWER_USAGE{gpu=\"1\"} -4\n", {}),
    ],
    ids=["amd", "furiosa", "gaudi", "triton", "kepler", "kepler before 0.10", "blanks", "nonsense"],
)  # fmt: skip
def test_others(page: bytes, said: dict[str, float]) -> None:
    assert read(page) == said


def test_one_device_on_two_pages_counts_once_and_by_its_counter() -> None:
    watts = history("p", False, **{"accelerators:watts:GPU-a": [100.0] * 11, "accelerators:watts:GPU-b": [50.0] * 11})
    joules = history("q", False, **{"accelerators:joules:GPU-a": [200.0 * k for k in range(11)]})
    used = energy_of(devices_of([watts, joules], "accelerators"), "accelerators", 0.0, 10.0, 3.0, 100.0, 400.0)
    assert used.energy is not None and used.notes == ()
    assert used.energy.joules == pytest.approx(10 * 200 + 10 * 50)
    assert (used.energy.devices, used.energy.measured_by, used.energy.missing) == (2, "mixed", 0.0)
    assert used.energy.joules_per_output_token == pytest.approx(25.0)
    assert used.energy.joules_per_token == pytest.approx(6.25)


@given(st.lists(st.floats(1, 1000), min_size=2, max_size=60), st.integers(1, 6))
def test_energy_is_what_a_counter_grew_by(watts: list[float], wide: int) -> None:
    """The increase of a counter is what was added to it, whatever the steps."""
    joules = [sum(watts[:k]) * wide for k in range(len(watts) + 1)]
    made = history(one_process=False, **{"accelerators:joules:a": joules})
    seconds = float(len(watts))
    used = energy_of(devices_of([made], "accelerators"), "accelerators", 0.0, seconds, 3.0, 0.0, 0.0)
    assert used.energy is not None and used.energy.joules == pytest.approx(sum(watts) * wide)
    assert used.energy.joules_per_output_token is None


def test_what_is_missing_is_told_and_too_much_of_it_is_no_energy() -> None:
    some = history(one_process=False, **{"accelerators:watts:a": [100.0] * 19 + [NAN, NAN]})
    used = energy_of(devices_of([some], "accelerators"), "accelerators", 0.0, 20.0, 3.0, 10.0, 10.0)
    assert used.energy is not None and used.energy.missing == pytest.approx(0.1)
    assert used.energy.joules == pytest.approx(2000.0)
    much = history(one_process=False, **{"accelerators:watts:a": [100.0] * 10 + [NAN] * 11})
    used = energy_of(devices_of([much], "accelerators"), "accelerators", 0.0, 20.0, 3.0, 10.0, 10.0)
    assert used.energy is None and "55% of the time of 1 accelerators was not seen" in used.notes[0]


def test_an_exporter_that_is_slow_to_renew_is_told_and_read_by_its_changes() -> None:
    """Thirty seconds a step at 100 W: looks in between see a counter that stands still."""
    joules = [100.0 * 30 * (k // 30) for k in range(301)]
    made = history(one_process=False, **{"accelerators:joules:a": joules})
    devices = devices_of([made], "accelerators")
    used = energy_of(devices, "accelerators", 45.0, 105.0, 3.0, 1.0, 1.0)
    assert used.energy is not None and used.energy.joules == pytest.approx(6000.0)
    assert "renews what it says every 30 s, and the stage has 60 s" in used.notes[0]
    assert energy_of(devices, "accelerators", 0.0, 290.0, 3.0, 1.0, 1.0).notes == ()


def test_all_stages_together_are_known_where_each_is() -> None:
    made = history(one_process=False, **{"accelerators:watts:a": [100.0] * 21})
    devices = devices_of([made], "accelerators")
    parts = [energy_of(devices, "accelerators", a, a + 10, 3.0, 5.0, 5.0).energy for a in (0.0, 10.0)]
    whole = together(parts, 20.0, 10.0, 50.0)
    assert whole is not None and (whole.joules, whole.mean_w) == (2000.0, 100.0)
    assert (whole.joules_per_output_token, whole.joules_per_token) == (200.0, 40.0)
    assert together([parts[0], None], 20.0, 10.0, 10.0) is None
    assert device_of("accelerators:watts:n/0:1") == ("accelerators", "watts", "n/0:1")
