"""Pickers behind a Service, found in a real API server."""

import asyncio

from fairlead.gateway.peers import ServicePeers
from fairlead.kube.client import Client


def slice_(name, service, *addresses):
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": False}} for a in addresses],
        "ports": [],
    }


async def test_the_pods_of_a_service_are_followed(cluster):
    heard = []
    async with Client.load(cluster.kubeconfig) as client:
        task = asyncio.create_task(ServicePeers(client, "default", "pickers", 9004).run(heard.append))
        await cluster.apply(slice_("one", "pickers", "10.0.0.1"), slice_("two", "pickers", "10.0.0.2", "10.0.0.3"))
        await cluster.apply(slice_("other", "elsewhere", "10.0.0.9"))
        await cluster.until(lambda: heard and heard[-1] == ["10.0.0.1:9004", "10.0.0.2:9004", "10.0.0.3:9004"])
        await cluster.kubectl("delete", "endpointslice", "two")
        await cluster.until(lambda: heard[-1] == ["10.0.0.1:9004"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
