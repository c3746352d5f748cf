"""The picker's pages for people, by the commands that show them."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import pytest

from patience import PATIENCE_S

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 2}


async def _fairlead(*argv: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.cli.main", *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def asked(stack):
    """A stack of two engines, and the ids of three requests that were routed."""
    await stack.start(2, "--ttft-ms", "0", "--itl-ms", "0")
    names = ["first", "second", "third"]
    async with aiohttp.ClientSession() as session:
        for name in names:
            async with session.post(
                stack.url + "/v1/chat/completions", json=CHAT, headers={"x-request-id": name}
            ) as response:
                assert response.status == 200
    return stack, names


async def test_top_shows_pools_and_endpoints(asked):
    stack, _ = asked
    code, out, _ = await _fairlead("gateway", "top", "--once", "--gateway-data", str(stack.folder))
    assert code == 0
    assert "default/tiny" in out
    assert all(address in out for _, address in stack.engines)
    code, out, _ = await _fairlead("gateway", "top", "-o", "json", "--gateway-data", str(stack.folder))
    pool = json.loads(out)["pools"][0]
    assert (pool["routed_total"], len(pool["endpoints"])) == (3, 2)


async def test_a_decision_is_explained_by_its_request(asked, tmp_path):
    stack, names = asked
    where = ("--gateway-data", str(stack.folder))
    code, out, _ = await _fairlead("gateway", "explain", "--list", "-o", "json", *where)
    rows = json.loads(out)
    assert [row["request_id"] for row in rows] == names[::-1]
    code, out, _ = await _fairlead("gateway", "explain", "second", *where)
    assert code == 0
    assert rows[1]["endpoint"] in out
    assert "picked" in out
    code, saved, _ = await _fairlead("gateway", "explain", "second", "-o", "json", *where)
    file = tmp_path / "decision.json"
    file.write_text(saved)
    assert (await _fairlead("gateway", "explain", "--file", str(file)))[1] == out
    code, _, err = await _fairlead("gateway", "explain", "nobody", *where)
    assert (code, "no such decision" in err) == (1, True)


async def test_without_a_picker_the_remedy_is_said(tmp_path):
    code, _, err = await _fairlead("gateway", "top", "--gateway-data", str(tmp_path))
    assert code == 1
    assert "no endpoint picker runs" in err


async def test_a_configuration_is_checked_before_it_is_used(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: "
    good.write_text(head + "queue-scorer\n")
    bad.write_text(head + "quue-scorer\n")
    code, out, _ = await _fairlead("gateway", "config", "check", str(good))
    assert code == 0
    assert "max-score-picker" in out
    code, _, err = await _fairlead("gateway", "config", "check", str(bad))
    assert code == 1
    assert "quue-scorer" in err
