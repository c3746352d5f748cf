"""What the ONNX runtime serves over REST, with and without dynamic batching: requests per second, latency as clients
see it, and the server's CPU time per request. Two networks on scikit-learn's digits: a small one, where the protocol is
the cost, and a wide one, whose weights are read once per execution, whatever the rows."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import aiohttp
import numpy as np

from harness.report import Figure, arguments, report

WARM_UP_S = 1.0


def train(folder: Path) -> None:
    """Write small.onnx and wide.onnx."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore", module="sklearn")
    data = load_digits()
    rows = data.data.astype(np.float32)
    for name, layers, rounds in (("small", (32,), 30), ("wide", (2048, 2048), 1)):
        network = MLPClassifier(layers, max_iter=rounds, random_state=0).fit(rows, data.target)
        graph = to_onnx(network, rows[:1], options={id(network): {"zipmap": False}})
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


async def load(url: str, body: bytes, concurrency: int, duration_s: float) -> list[float]:
    """Latencies in seconds of what `concurrency` clients got answered one after the other."""
    latencies: list[float] = []
    end_s = time.perf_counter() + duration_s

    async def client(session: aiohttp.ClientSession) -> None:
        while (began_s := time.perf_counter()) < end_s:
            async with session.post(url, data=body) as response:
                await response.read()
                response.raise_for_status()
            latencies.append(time.perf_counter() - began_s)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
    return latencies


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(models: Path, max_batch_size: int, concurrency: int, duration_s: float) -> dict[str, list[float]]:
    """Model -> requests/s, p50 ms, p99 ms, CPU ms per request, rows per execution; "alone" -> p50 ms of one client of
    the small one."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.runtimes.onnx", str(models), "--port", "0", "--no-grpc",
        "--max-batch-size", str(max_batch_size), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    found: dict[str, list[float]] = {}
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{int((await server.stdout.readline()).split()[-1])}"
        tensor = {"name": "X", "shape": [1, 64], "datatype": "FP32", "data": [float(i % 17) for i in range(64)]}
        body = json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode()
        for model in ("small", "wide"):
            url = f"{base}/v2/models/{model}/infer"
            await load(url, body, concurrency, WARM_UP_S)
            before_cpu_s, before = cpu_s(server.pid), await counts(base, model)
            latencies = sorted(await load(url, body, concurrency, duration_s))
            used_s, after = cpu_s(server.pid) - before_cpu_s, await counts(base, model)
            found[model] = [
                len(latencies) / duration_s,
                statistics.median(latencies) * 1000,
                latencies[int(len(latencies) * 0.99)] * 1000,
                used_s / len(latencies) * 1000,
                (after[0] - before[0]) / (after[1] - before[1]),
            ]
        alone = await load(f"{base}/v2/models/small/infer", body, 1, duration_s / 2)
        found["alone"] = [statistics.median(alone) * 1000]
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), 30)
    return found


async def counts(base: str, model: str) -> tuple[float, float]:
    """Rows and executions so far, from the metrics page."""
    async with aiohttp.ClientSession() as session, session.get(f"{base}/metrics") as response:
        lines = (await response.text()).splitlines()
    rows, executions = (
        next(float(line.split()[-1]) for line in lines if line.startswith(f'{name}{{model="{model}"'))
        for name in ("nv_inference_count", "nv_inference_exec_count")
    )
    return rows, executions


def main() -> None:
    parser = arguments("The ONNX runtime with and without dynamic batching.")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--duration", type=float, default=5.0, help="seconds of each of the four measurements")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        train(Path(folder))
        plain = asyncio.run(measure(Path(folder), 1, given.concurrency, given.duration))
        batched = asyncio.run(measure(Path(folder), 32, given.concurrency, given.duration))
    figures = []
    for model in ("small", "wide"):
        for way, found in (("one by one", plain[model]), ("batched", batched[model])):
            figures += [
                Figure(f"{model} network, {way}: throughput", found[0], "req/s"),
                Figure(f"{model} network, {way}: latency p50", found[1], "ms"),
                Figure(f"{model} network, {way}: latency p99", found[2], "ms"),
                Figure(f"{model} network, {way}: server CPU per request", found[3], "ms"),
                Figure(f"{model} network, {way}: rows per execution", found[4], "rows"),
            ]
    for way, all_found in (("one by one", plain), ("batched", batched)):
        figures.append(Figure(f"small network, {way}, a single client: latency p50", all_found["alone"][0], "ms"))
    figures.append(
        Figure("wide network: batched throughput over one by one", batched["wide"][0] / plain["wide"][0], "×", 2.0,
               "higher")
    )  # fmt: skip
    figures.append(
        Figure("small network: batched throughput over one by one", batched["small"][0] / plain["small"][0], "×", 1.0,
               "higher")
    )  # fmt: skip
    report(figures, given.json, f"{given.concurrency} clients of one row each on the same machine.")


if __name__ == "__main__":
    main()
