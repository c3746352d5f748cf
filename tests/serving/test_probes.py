"""Probes of pods follow the adapter: readiness and, where the server has one, a liveness page of its own."""

import pytest

from fairlead.api.model_service import Model, ModelService, ModelServiceSpec
from fairlead.serving.render import pod_template


@pytest.mark.parametrize(
    ("runtime", "ready", "live"),
    [("vllm", "/health", "/health"), ("mlserver", "/v2/health/ready", "/v2/health/live")],
)
def test_probe_paths(runtime, ready, live):
    spec = ModelServiceSpec(model=Model(name="m", source="/models/m"), runtime=runtime)
    service = ModelService(metadata={"name": "s", "namespace": "default"}, spec=spec)
    (container,) = pod_template(service)["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == ready
    assert container["startupProbe"]["httpGet"]["path"] == ready
    assert container["livenessProbe"]["httpGet"]["path"] == live
