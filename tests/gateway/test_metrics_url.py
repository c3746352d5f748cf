"""Where the gateway looks for an endpoint's metrics."""

import pytest

from fairlead.engines import engine_for
from fairlead.gateway.scrape import metrics_url


@pytest.mark.parametrize(
    ("runtime", "url"),
    [
        ("vllm", "http://10.0.0.1:8000/metrics"),
        ("tensorrt-llm", "http://10.0.0.1:8000/prometheus/metrics"),
        ("triton", "http://10.0.0.1:8002/metrics"),
        ("jetstream", "http://10.0.0.1:9090/"),
    ],
)
def test_metrics_are_on_the_engines_port_or_one_of_their_own(runtime, url):
    assert metrics_url("10.0.0.1:8000", engine_for(runtime)) == url


def test_addresses_of_the_sixth_version():
    assert metrics_url("[fd00::1]:8000", engine_for("triton")) == "http://[fd00::1]:8002/metrics"
