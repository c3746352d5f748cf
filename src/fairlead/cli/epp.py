"""`fairlead epp`: the endpoint picker of one InferencePool, started as other pickers are.

Manifests and charts of the Gateway API Inference Extension and of llm-d start their picker with the flags below; with
this command Fairlead's image stands in for theirs. Flags that ask for what Fairlead does otherwise or always are taken
and told about; those that ask for what it does not do are refused by name.

Sources: `pkg/epp/server/options.go` of llm-d-router, `pkg/lwepp/server/options.go` of the inference extension.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.gateway.run import Options
    from fairlead.gateway.transport import ServerTls

POOL_GROUP = "inference.networking.k8s.io"

_WITHOUT_EFFECT: Mapping[str, str] = {
    "allow-experimental-plugins": "plugins are not divided by their maturity",
    "enable-cert-reload": "certificates are always read again when they change",
    "enable-grpc-stream-metrics": "the metrics of sessions are always there",
    "enable-pprof": "there are no such pages",
    "grpc-max-recv-msg-size": "bodies of requests are bounded in place of messages",
    "grpc-max-send-msg-size": "messages are small",
    "ha-enable-leader-election": "every replica decides; give them --peers-service to share what they know",
    "health-checking": "health is always served",
    "metrics-staleness-threshold": "how old metrics may be is a matter of each detector",
    "refresh-metrics-interval": "engines are asked as often as they need",
    "refresh-prometheus-metrics-interval": "metrics are made when they are asked for",
    "zap-devel": "logs are lines of text",
    "zap-encoder": "logs are lines of text",
    "zap-log-level": "give --v",
    "zap-stacktrace-level": "logs are lines of text",
    "zap-time-encoding": "logs are lines of text",
}
"""Flag -> why it changes nothing here."""

_SWITCHES = frozenset(
    ("allow-experimental-plugins", "enable-cert-reload", "enable-grpc-stream-metrics", "enable-pprof",
     "ha-enable-leader-election", "health-checking", "zap-devel")
)  # fmt: skip
"""Those of them that may stand without a value."""

_METRIC_FLAGS: Mapping[str, str] = {
    "total-queued-requests-metric": "vllm:num_requests_waiting",
    "total-running-requests-metric": "vllm:num_requests_running",
    "kv-cache-usage-percentage-metric": "vllm:kv_cache_usage_perc",
    "lora-info-metric": "vllm:lora_requests_info",
    "cache-info-metric": "vllm:cache_config_info",
}
"""Names of metrics that may be given as they are anyway; engines are told apart by the label of their pods."""

_TLS_VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}

_REFUSED: Mapping[str, str] = {
    "disable-endpoint-subset-filter": "what the gateway says of endpoints is always kept to",
    "endpoint-selector": "make an InferencePool and name it with --pool-name, or use `fairlead gateway`",
    "endpoint-target-ports": "they are those of the InferencePool",
    "metrics-cert-dir": "metrics are served without TLS: put a proxy before them",
    "metrics-client-ca-file": "metrics are served without TLS: put a proxy before them",
    "tls-cipher-suites": "the suites are those of Python's TLS",
}

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def main(argv: list[str]) -> int:
    """Run the picker until it is told to stop."""
    arguments, made = _read(argv)
    from fairlead.cli.components import run_component
    from fairlead.gateway.run import run

    return run_component(
        "epp",
        run(arguments.kubeconfig, made, namespace=arguments.pool_namespace, pool=arguments.pool_name),
    )


def options(argv: list[str]) -> Options:
    """What the picker is started with; flags that cannot be followed end the process with status 2."""
    return _read(argv)[1]


def _read(argv: list[str]) -> tuple[argparse.Namespace, Options]:
    parser = _parser()
    arguments = parser.parse_args(_single_dashed(argv))
    return arguments, _options(parser, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlead epp",
        description="Run the endpoint picker of one InferencePool, with the flags of other pickers.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--pool-name", required=True, help="the InferencePool")
    add(
        "--pool-namespace", default=os.environ.get("NAMESPACE") or "default", help="its namespace [default: $NAMESPACE]"
    )
    add("--pool-group", default=POOL_GROUP, choices=(POOL_GROUP,), help="its API group")
    add("--grpc-port", type=_port, default=9002, help="port for gateways [default: 9002]")
    add("--grpc-health-port", type=_port, default=9003, help="port of gRPC health [default: 9003]")
    add("--metrics-port", type=_port, default=9090, help="port of Prometheus metrics [default: 9090]")
    _switch(parser, "metrics-endpoint-auth", True, "only tokens that may GET /metrics read them")
    add("--config-file", type=Path, help="EndpointPickerConfig")
    add("--config-text", help="the same as text")
    _switch(parser, "secure-serving", True, "serve gateways with TLS")
    add("--cert-path", type=Path, help="folder with tls.crt and tls.key [default: a self-signed certificate]")
    add("--tls-min-version", choices=tuple(_TLS_VERSIONS), default="VersionTLS12", help="lowest version of TLS")
    _switch(parser, "emit-endpoint-scores", False, "tell in the metadata how each candidate scored")
    add(
        "--drain-timeout", type=_duration_s, default=0.0, metavar="DURATION", help="go on serving so long after SIGTERM"
    )
    _switch(parser, "tracing", True, "send traces where OTEL_EXPORTER_OTLP_ENDPOINT says")
    add("--v", "-v", type=int, default=0, metavar="LEVEL", help="how much is logged; from 4 on everything")
    add("--kubeconfig", help="default: $KUBECONFIG, ~/.kube/config, or the pod's service account")
    ours = parser.add_argument_group("Fairlead's own")
    ours.add_argument("--data", type=Path, help="folder for sockets and memory [default: a temporary one]")
    ours.add_argument("--bind", default="0.0.0.0", metavar="HOST", help="address of all ports [default: all of IPv4]")
    ours.add_argument("--fallbacks", type=int, default=0, metavar="N", help="endpoints to name after the first")
    ours.add_argument("--conformance", action="store_true", help="obey the headers of the conformance tests")
    ours.add_argument("--peers-address", default="", metavar="HOST:PORT", help="listen there for other replicas")
    ours.add_argument("--peers-service", default="", metavar="NAMESPACE/NAME", help="headless Service of them all")
    for name in _WITHOUT_EFFECT:
        if name in _SWITCHES:
            _switch(parser, name, None, argparse.SUPPRESS)
        else:
            add(f"--{name}", help=argparse.SUPPRESS)
    for name in (*_METRIC_FLAGS, *_REFUSED):
        add(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    return parser


def _switch(parser: argparse.ArgumentParser, name: str, default: bool | None, text: str) -> None:
    parser.add_argument(f"--{name}", nargs="?", const=True, default=default, type=_truth, metavar="BOOL", help=text)


def _single_dashed(argv: Sequence[str]) -> list[str]:
    """pflag takes `-v4` and `-v=4`; argparse takes the first alone."""
    return [re.sub(r"^-v=", "-v", one) for one in argv]


def _options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Options:
    from fairlead.gateway.config import ConfigError, read_config

    _check(parser, vars(arguments))
    if arguments.config_file is not None and arguments.config_text is not None:
        parser.error("--config-file and --config-text exclude each other")
    data: Path = arguments.data or Path(tempfile.mkdtemp(prefix="fairlead-epp-"))
    try:
        data.mkdir(parents=True, exist_ok=True)
        config = arguments.config_file
        if arguments.config_text is not None:
            config = data / "picker-config.yaml"
            config.write_text(arguments.config_text)
        tls = _tls(arguments)
        if config is not None:
            read_config(config.read_text())
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        parser.error(str(error))
    except ConfigError as error:
        parser.error(f"the configuration: {error}")
    from fairlead.gateway.run import Options

    return Options(
        data,
        arguments.metrics_port,
        metrics_host=arguments.bind,
        metrics_authorized=arguments.metrics_endpoint_auth,
        traces=arguments.tracing,
        config=config,
        grpc_address=f"{arguments.bind}:{arguments.grpc_port}",
        health_address=f"{arguments.bind}:{arguments.grpc_health_port}",
        tls=tls,
        fallbacks=arguments.fallbacks,
        scores=arguments.emit_endpoint_scores,
        conformance=arguments.conformance,
        one_pool=True,
        log_level=logging.DEBUG if arguments.v >= 4 else logging.INFO,
        drain_s=arguments.drain_timeout,
        peers_address=arguments.peers_address,
        peers_service=arguments.peers_service,
    )


def _check(parser: argparse.ArgumentParser, given: Mapping[str, object]) -> None:
    """Refuse what cannot be done; tell of what changes nothing."""
    for name, why in _REFUSED.items():
        if given[_attribute(name)] not in (None, "", "false"):
            parser.error(f"--{name} is not supported: {why}")
    for name, usual in _METRIC_FLAGS.items():
        if given[_attribute(name)] not in (None, usual):
            parser.error(
                f"--{name} is not supported: engines' metrics are known by the label llm-d.ai/engine-type of their pods"
            )
    for name, why in _WITHOUT_EFFECT.items():
        if given[_attribute(name)] is not None:
            print(f"fairlead epp: --{name} has no effect: {why}", file=sys.stderr)


def _tls(arguments: argparse.Namespace) -> ServerTls | None:
    if not arguments.secure_serving:
        return None
    from fairlead.gateway.transport import ServerTls

    folder: Path | None = arguments.cert_path
    tls = ServerTls.from_files(folder / "tls.crt", folder / "tls.key") if folder else ServerTls.self_signed()
    tls.context.minimum_version = _TLS_VERSIONS[arguments.tls_min_version]
    return tls


def _attribute(name: str) -> str:
    return name.replace("-", "_")


def _truth(text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"true or false, got {text!r}")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, got {text}")
    return int(text)


def _duration_s(text: str) -> float:
    """Go's form: 30s, 1m30s."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not (text or parts):
        raise argparse.ArgumentTypeError(f"a duration as 30s or 1m30s, got {text!r}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
