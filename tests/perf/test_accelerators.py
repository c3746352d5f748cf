import json

import pytest

from fairlead.perf import AcceleratorError, accelerator, accelerators, load_accelerators
from fairlead.perf.accelerators import _FIGURES

EXPECTED = (
    "A100-40 A100-80 H100-SXM H100-PCIe H200 B200 GB200 L4 L40S MI300X MI325X TPU-v5e TPU-v5p TPU-v6e RNGD Gaudi-3 cpu"
)


@pytest.mark.parametrize("name", EXPECTED.split())
def test_the_table_has_the_entry(name):
    assert accelerator(name).name == name


@pytest.mark.parametrize("entry", accelerators().values(), ids=lambda entry: entry.name)
def test_every_figure_has_a_source_and_nothing_else_has(entry):
    known = {field for field in _FIGURES if getattr(entry, field) is not None}
    assert set(entry.sources) == known
    assert all(entry.sources.values())
    if entry.price is not None:
        assert entry.price.source and entry.price.as_of.startswith("2026-")


def test_narrower_types_are_not_slower():
    for entry in accelerators().values():
        rates = [rate for rate in (entry.bf16_flops, entry.fp8_flops, entry.fp4_flops) if rate is not None]
        assert rates == sorted(rates), entry.name


def test_names_are_unique_with_aliases_and_case():
    names = [n.casefold() for entry in accelerators().values() for n in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert accelerator("nvidia-h100-80gb-hbm3") is accelerator("NVIDIA H100 80GB HBM3") is accelerator("H100-SXM")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(AcceleratorError, match=r"no accelerator is named 'H900'; known: .*H100-SXM.*RNGD"):
        accelerator("H900")


def test_an_unknown_figure_says_where_to_give_it():
    with pytest.raises(AcceleratorError, match=r"cpu: memory_bytes_per_s is unknown; .*load_accelerators"):
        accelerator("cpu").required("memory_bytes_per_s")


def test_a_file_adds_and_replaces_entries(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "accelerators:\n"
        "- {name: cpu, vendor: any, memory_bytes: 68719476736, memory_bytes_per_s: 4.0e10, bf16_flops: 1.0e12}\n"
        "- {name: H900, vendor: NVIDIA, aliases: [h900-sxm], bf16_flops: 1.0e16}\n"
    )
    table = load_accelerators(path)
    assert accelerator("cpu", table).required("memory_bytes_per_s") == 4e10
    assert accelerator("H900-SXM", table).bf16_flops == 1e16
    assert accelerator("H100", table) is accelerator("H100")
    assert accelerators()["cpu"].memory_bytes is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"vendor": "x"}, "name"),
        ({"name": "x", "vendor": "x", "memory": 1}, "memory"),
        ({"name": "x", "vendor": "x", "memory_bytes": "80 GB"}, "memory_bytes"),
        ({"name": "x", "vendor": "x", "bf16_flops": -1}, "bf16_flops is -1"),
        ({"name": "", "vendor": "x"}, "is empty"),
        (
            {"name": "x", "vendor": "x", "price": {"low_usd_per_h": 2, "high_usd_per_h": 1, "as_of": "", "source": ""}},
            "low_usd_per_h",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_field(tmp_path, entry, message):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({"accelerators": [entry]}))
    with pytest.raises(AcceleratorError, match=message) as error:
        load_accelerators(path)
    assert "broken.json" in str(error.value)


def test_a_missing_file_is_an_error_of_this_room(tmp_path):
    with pytest.raises(AcceleratorError, match="No such file"):
        load_accelerators(tmp_path / "none.json")
