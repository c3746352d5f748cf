"""`fairlead adapter` against a real API server and engine, as a person types it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("adapters")


async def fairlead(site, *arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.cli.main", "adapter", *arguments,
        "--kubeconfig", str(site.folder / "api" / "kubeconfig"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode, out.decode()


async def test_from_apply_to_delete(site):
    await site.service()
    await site.engine("e1", 2)
    one, two = site.adapter_folder("one"), site.adapter_folder("two")
    status, said = await fairlead(site, "apply", "sql", "--source", one)
    assert (status, "give --service and --source" in said) == (1, True)
    assert await fairlead(site, "apply", "sql", "--service", "svc", "--source", one, "--wait", "--timeout", "30") == (
        0, "modeladapter/sql applied\nmodeladapter/sql serves\n",
    )  # fmt: skip
    lines = (await fairlead(site, "list"))[1].splitlines()
    assert lines[1].split() == ["sql", "sql", "svc", "1/1", "Serving", "Complete", one]
    assert (await fairlead(site, "undo", "sql"))[1].endswith("there is none to go back to\n")
    await fairlead(site, "apply", "sql", "--source", two, "--min-replicas", "1")
    await site.until_condition("sql", "RolledOut", "Progressing")
    await fairlead(site, "pause", "sql")
    await site.until_condition("sql", "RolledOut", "Paused")
    status, said = await fairlead(site, "describe", "sql")
    assert "Wanted:" in said
    await fairlead(site, "resume", "sql")
    await site.until_condition("sql", "RolledOut", "Progressing")
    await fairlead(site, "undo", "sql")
    await site.until_condition("sql", "RolledOut", "Complete")
    assert (await site.get("sql"))["spec"]["source"] == one
    assert (await fairlead(site, "delete", "sql"))[0] == 0

    async def gone():
        return (await fairlead(site, "describe", "sql"))[0] == 1

    await site.until(gone)
