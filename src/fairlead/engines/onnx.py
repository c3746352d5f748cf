"""Fairlead's own server for classical models: ONNX Runtime behind the Open Inference Protocol v2.

`fairlead engine onnx`. Its counters carry Triton's names; running requests and the histograms are its own series. The
signals are sums over the models of the server.
"""

from __future__ import annotations

from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.open_inference import LIVE_PATH, READY_PATH, RepositoryApi
from fairlead.engines.signal_rules import Count, Histogram, SignalTable, Total
from fairlead.engines.spec import EngineSourceError, EngineSpec, flag, refuse_all_but

_TABLE = SignalTable(
    succeeded_requests_total=Total((b"nv_inference_request_success",)),
    waiting_requests=Count((b"nv_inference_pending_request_count",)),
    running_requests=Count((b"fairlead_onnx_running_requests",)),
    e2e=Histogram(b"fairlead_onnx_request_duration_seconds"),
    queue=Histogram(b"fairlead_onnx_queue_duration_seconds"),
)


class Onnx(Engine):
    """One or several ONNX models from a path of the node."""

    runtime = "onnx"
    title = "Fairlead's ONNX runtime"
    image = "fairlead/fairlead:latest"
    program = Program("fairlead", module="fairlead", install="it is here")
    api = "open-inference"
    readiness = Readiness(path=READY_PATH, startup_timeout_s=600)
    liveness_path = LIVE_PATH
    metrics_path = "/metrics"
    adapters = RepositoryApi()
    drain = Drain(finishes_streams=True, new_requests="refused", health="turns")
    signal_table = _TABLE

    def command(self, spec: EngineSpec) -> EngineCommand:
        remedy = "an ONNX model runs on the CPUs of one host as it is: leave it out"
        refuse_all_but(self.runtime, spec, frozenset(("aliases", "adapters")), remedy)
        argv = (
            *(spec.command or ("fairlead", "engine", "onnx")),
            _path(spec.source),
            "--served-model-name",
            *spec.names,
            *flag("--host", spec.host),
            *flag("--port", spec.port),
            *flag("--grpc-port", spec.port + 1),
            *flag("--drain-timeout-s", self.drain_s(spec)),
            *spec.args,
        )
        return EngineCommand(argv)


def _path(source: str) -> str:
    path = source.removeprefix("file://")
    if path.startswith("/"):
        return path
    remedy = "it takes an absolute path or file:///path, of a .onnx file, a model's folder or a folder of models"
    raise EngineSourceError(Onnx.runtime, source, remedy)
