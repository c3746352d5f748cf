"""The recorded requests to a real vLLM and how one is asked again."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

from patience import PATIENCE_S

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "vllm_answers.json").read_text())


def ask(port, lora, case):
    """(response, text) of a recorded request, with `lora` for the folder of an adapter."""
    if "raw" in case:
        data = case["raw"].encode("utf-8", "surrogateescape")
    else:
        data = json.dumps(case["body"]).encode() if "body" in case else None
    if data is not None:
        data = data.replace(b"<fox x 3000>", b"fox " * 3000).replace(b"<lora>", lora.encode())
    headers = case.get("headers") or ({"Content-Type": "application/json"} if "body" in case else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request(case["method"], case["path"], data, headers)
    response = connection.getresponse()
    text = response.read().decode("utf-8", "replace").replace(lora, "<lora>")
    connection.close()
    return response, text
