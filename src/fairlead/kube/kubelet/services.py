"""The kubelet's plugin services as data, and what makes a server's handler or a client's calls of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from fairlead.kube.kubelet.messages import message


@dataclass(frozen=True, slots=True)
class Method:
    """One call: its messages by name, and whether the answer is a stream."""

    name: str
    request: str
    response: str
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service. `version` is how a plugin announces it in `PluginInfo.supported_versions`; empty where it never
    does."""

    package: str
    name: str
    version: str
    methods: tuple[Method, ...]

    @property
    def full_name(self) -> str:
        return f"{self.package}.{self.name}"

    def message(self, name: str) -> Any:
        """The class of a message of this service's package."""
        return message(self.package, name)


_DRA = (
    Method("NodePrepareResources", "NodePrepareResourcesRequest", "NodePrepareResourcesResponse"),
    Method("NodeUnprepareResources", "NodeUnprepareResourcesRequest", "NodeUnprepareResourcesResponse"),
)
_HEALTH = (Method("NodeWatchResources", "NodeWatchResourcesRequest", "NodeWatchResourcesResponse", streams=True),)

REGISTRATION = Service(
    "pluginregistration",
    "Registration",
    "",
    (
        Method("GetInfo", "InfoRequest", "PluginInfo"),
        Method("NotifyRegistrationStatus", "RegistrationStatus", "RegistrationStatusResponse"),
    ),
)
DRA_V1 = Service("k8s.io.kubelet.pkg.apis.dra.v1", "DRAPlugin", "v1.DRAPlugin", _DRA)
DRA_V1BETA1 = Service("k8s.io.kubelet.pkg.apis.dra.v1beta1", "DRAPlugin", "v1beta1.DRAPlugin", _DRA)
HEALTH_V1 = Service("v1", "DRAResourceHealth", "v1.DRAResourceHealth", _HEALTH)
HEALTH_V1ALPHA1 = Service("v1alpha1", "DRAResourceHealth", "v1alpha1.DRAResourceHealth", _HEALTH)


def handler(service: Service, functions: Mapping[str, Callable[[Any, Any], Any]]) -> Any:
    """A server's generic handler: method name -> `async (request, context) -> response`, or an async generator."""
    rpcs = {}
    for method in service.methods:
        make = grpc.unary_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
        rpcs[method.name] = make(
            functions[method.name],
            request_deserializer=service.message(method.request).FromString,
            response_serializer=service.message(method.response).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service.full_name, rpcs)


def stub(service: Service, channel: Any) -> dict[str, Any]:
    """A client's calls over a (synchronous or asyncio) channel: method name -> multicallable."""
    calls = {}
    for method in service.methods:
        make = channel.unary_stream if method.streams else channel.unary_unary
        calls[method.name] = make(
            f"/{service.full_name}/{method.name}",
            request_serializer=service.message(method.request).SerializeToString,
            response_deserializer=service.message(method.response).FromString,
        )
    return calls
