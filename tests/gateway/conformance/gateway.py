"""A foreign gateway's side of the endpoint picker protocol on plain grpcio, a picker process, and engines that report
what a case says."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from grpc_health.v1 import health_pb2

from gateway.conftest import free_port
from patience import PATIENCE_S

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
HEALTH = "/grpc.health.v1.Health/Check"
TIMEOUT_S = 20.0


class Ask:
    """One request as a gateway carries it: messages out as bytes, answers in."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        call = channel.stream_stream(PROCESS)  # No serializers: what goes over the wire is what the test wrote.
        self._call = call(iter(self._out.get, None), timeout=TIMEOUT_S)

    def say(self, *messages: pb.ProcessingRequest | bytes) -> Ask:
        for message in messages:
            self._out.put(message if isinstance(message, bytes) else message.SerializeToString())
        return self

    def hear(self, number: int = 1) -> list[pb.ProcessingResponse]:
        """The next answers."""
        return [pb.ProcessingResponse.FromString(next(self._call)) for _ in range(number)]

    def rest(self) -> list[pb.ProcessingResponse]:
        """What comes until the picker ends the call. Raises grpc.RpcError when it ends it with an error."""
        return [pb.ProcessingResponse.FromString(data) for data in self._call]

    def done(self) -> list[pb.ProcessingResponse]:
        """Half-close, and what comes then."""
        self._out.put(None)
        return self.rest()

    def cancel(self) -> None:
        self._call.cancel()
        self._out.put(None)

    @property
    def code(self) -> grpc.StatusCode:
        return self._call.code()


@dataclass
class Report:
    """What an engine says of itself."""

    waiting: int = 0
    kv: float = 0.0
    adapters: tuple[str, ...] = ()
    running: int = 0

    def page(self) -> str:
        lines = [
            f'vllm:num_requests_waiting{{model_name="m"}} {self.waiting}',
            f'vllm:num_requests_running{{model_name="m"}} {self.running}',
            f'vllm:kv_cache_usage_perc{{model_name="m"}} {self.kv}',
        ]
        if self.adapters:
            running = ",".join(self.adapters)
            lines.append(
                f'vllm:lora_requests_info{{max_lora="4",running_lora_adapters="{running}",waiting_lora_adapters=""}} '
                f"{time.time()}"
            )
        return "\n".join(lines) + "\n"


class Engine:
    """Serves a page of metrics, in a thread."""

    def __init__(self, report: Report) -> None:
        class Page(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = report.page().encode() if self.path == "/metrics" else b"{}"
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class PickerProcess:
    """A picker as its own process, asked at its address for foreign gateways."""

    folder: Path
    arguments: Sequence[str] = ("--one-pool",)
    tls: bool = False
    port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    engines: list[Engine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.publish()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def addresses(self) -> list[str]:
        return [engine.address for engine in self.engines]

    def start(self) -> None:
        self.launch(
            sys.executable, "-m", "fairlead.gateway", "--endpoints", str(self.folder / "endpoints.json"),
            "--data", str(self.folder), "--metrics-port", str(self.metrics_port), "--grpc-address", self.address,
            "--health-address", f"127.0.0.1:{self.health_port}", *(["--tls"] if self.tls else []), *self.arguments,
        )  # fmt: skip

    def launch(self, *argv: str) -> None:
        self.process = subprocess.Popen(argv)
        with grpc.insecure_channel(f"127.0.0.1:{self.health_port}") as channel:
            until(lambda: health(channel, "readiness") == health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            finally:
                self.process.kill()
        for engine in self.engines:
            engine.close()

    def channel(self) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", -1)]
        if not self.tls:
            return grpc.insecure_channel(self.address, options)
        # A self-signed certificate: whoever trusts it takes it as it comes.
        certificate = ssl.get_server_certificate(("127.0.0.1", self.port)).encode()
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(certificate), options)

    def pool(self, *reports: Report, **more: object) -> list[str]:
        """The pool now has new engines that report this; returns their addresses once the picker has heard them."""
        fresh = [Engine(report) for report in reports]
        old, self.engines = self.engines, fresh
        self.publish(**more)
        until(lambda: self._seen(reports))
        for engine in old:
            engine.close()
        return self.addresses

    def publish(self, **more: object) -> None:
        pool = {"key": "default/pool", "models": [], "endpoints": self.addresses, **more}
        self.write({"pools": [pool]})

    def write(self, document: dict) -> None:
        fresh = self.folder / "endpoints.new"
        fresh.write_text(json.dumps(document))
        fresh.replace(self.folder / "endpoints.json")

    def _seen(self, reports: Sequence[Report]) -> bool:
        found = {e["address"]: e for pool in self.state()["pools"] for e in pool["endpoints"]}
        if set(found) != set(self.addresses):
            return False
        return all(
            (found[a]["waiting"], found[a]["kv_cache_usage_ratio"]) == (r.waiting, r.kv)
            for a, r in zip(self.addresses, reports, strict=True)
        )

    def state(self) -> dict:
        connection = http.client.HTTPConnection("picker", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.folder / "picker-admin.sock"))
            connection.request("GET", "/state")
            return json.loads(connection.getresponse().read())

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric over the series that have these labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith((name + "{", name + " ")) and all(one in line for one in wanted)
        )

    def in_flight(self) -> float:
        return self.metric("fairlead_gateway_in_flight_requests")


def until(true: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait for what is not announced."""
    end = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            if true():
                return
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def health(channel: grpc.Channel, name: str) -> int:
    """The status of a name; -1 while nobody answers. Raises grpc.RpcError for an unknown name."""
    check = channel.unary_unary(
        HEALTH,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        return check(health_pb2.HealthCheckRequest(service=name), timeout=5).status
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return -1
        raise


@contextlib.contextmanager
def running(picker: PickerProcess) -> Iterator[PickerProcess]:
    try:
        picker.start()
        yield picker
    finally:
        picker.stop()
