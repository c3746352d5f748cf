"""Servers of the Open Inference Protocol v2 for models of every kind: MLServer and OpenVINO Model Server.

Protocol: Open Inference Protocol v2 (`/v2/health/live`, `/v2/health/ready`, `/v2/models/{name}/infer`) with its model
repository extension. MLServer 1.x: environment settings MLSERVER_*, metrics on a port of their own. OpenVINO Model
Server 2025: command-line parameters, metrics on the REST port, durations in microseconds. Triton has its own module.
"""

from __future__ import annotations

from fairlead.engines.calls import CallOutcome, HttpCall, plain_outcome
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.signal_rules import Count, Histogram, SignalTable, Total
from fairlead.engines.spec import Adapter, EngineSpec, flag, local_source, refuse_all_but

READY_PATH = "/v2/health/ready"
LIVE_PATH = "/v2/health/live"
MLSERVER_METRICS_PORT = 8082

_ONE_PROCESS = "it serves a model in one process: leave it out, or set it in the model's own files"

_MLSERVER = SignalTable(
    running_requests=Count((b"rest_server_requests_in_progress",)),
    succeeded_requests_total=Total((b"model_infer_request_success_total",)),
)

_OPENVINO = SignalTable(
    succeeded_requests_total=Total((b"ovms_requests_success",), where=("method", "ModelInfer")),
    running_requests=Count((b"ovms_infer_req_active", b"ovms_current_requests")),
    e2e=Histogram(b"ovms_request_time_us", unit_s=1e-6),
    queue=Histogram(b"ovms_wait_for_infer_req_time_us", unit_s=1e-6),
)


class RepositoryApi:
    """The model repository extension: what is loaded and unloaded are models of the server's repository by name."""

    def load(self, adapter: Adapter) -> HttpCall:
        return HttpCall("POST", f"/v2/repository/models/{adapter.name}/load", {})

    def unload(self, name: str) -> HttpCall:
        return HttpCall("POST", f"/v2/repository/models/{name}/unload", {})

    def model_field(self, model: str, name: str) -> str:
        return name

    def loaded(self, status: int, body: bytes) -> CallOutcome:
        return plain_outcome(status, body)

    def unloaded(self, status: int, body: bytes) -> CallOutcome:
        return plain_outcome(status, body, unchanged=("not found",))


class MlServer(Engine):
    """MLServer: scikit-learn, XGBoost, LightGBM, MLflow, Hugging Face pipelines. Its model names are its files' own."""

    runtime = "mlserver"
    title = "MLServer 1.x"
    image = "docker.io/seldonio/mlserver:latest"
    program = Program("mlserver", module="mlserver", install="pip install mlserver")
    api = "open-inference"
    readiness = Readiness(path=READY_PATH, startup_timeout_s=600)
    liveness_path = LIVE_PATH
    metrics_path = "/metrics"
    signal_table = _MLSERVER
    metrics_port = MLSERVER_METRICS_PORT
    adapters = RepositoryApi()
    drain = Drain(finishes_streams=True, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        refuse_all_but(self.runtime, spec, frozenset(("adapters",)), _ONE_PROCESS)
        folder = local_source(self.runtime, spec.source, "the absolute path of a folder with model-settings.json")
        env = {
            "MLSERVER_HOST": spec.host,
            "MLSERVER_HTTP_PORT": str(spec.port),
            "MLSERVER_METRICS_PORT": str(self.metrics_port),
            "MLSERVER_MODEL_NAME": spec.model,
        }
        return EngineCommand((*(spec.command or ("mlserver", "start")), folder, *spec.args), env)


class OpenVino(Engine):
    """OpenVINO Model Server with one model; several come from a file given with args --config_path."""

    runtime = "openvino"
    title = "OpenVINO Model Server 2025"
    image = "docker.io/openvino/model_server:latest"
    program = Program("ovms", install="the image, or a package of its releases")
    api = "open-inference"
    readiness = Readiness(path=READY_PATH, startup_timeout_s=600)
    liveness_path = LIVE_PATH
    metrics_path = "/metrics"
    signal_table = _OPENVINO
    drain = Drain(finishes_streams=True, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        refuse_all_but(self.runtime, spec, frozenset(), _ONE_PROCESS)
        argv = (
            *(spec.command or ("ovms",)),
            *flag("--model_name", spec.model),
            *flag("--model_path", local_source(self.runtime, spec.source, "the absolute path of a model folder")),
            *flag("--rest_bind_address", spec.host),
            *flag("--rest_port", spec.port),
            "--metrics_enable",
            "--metrics_list",
            "ovms_requests_success,ovms_infer_req_active,ovms_request_time_us,ovms_wait_for_infer_req_time_us",
            *spec.args,
        )
        return EngineCommand(argv)
