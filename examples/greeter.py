"""A whole operator: keeps a ConfigMap for each Greeting. docs/kube.md explains it."""

import asyncio
import logging

from fairlead import kube

GREETINGS = kube.Resource.of("example.com/v1", "greetings", "Greeting")
CONFIG_MAPS = kube.Resource.of("v1", "configmaps", "ConfigMap")


async def work(client: kube.Client) -> None:
    informers = kube.Informers(client)
    greetings, config_maps = informers.informer(GREETINGS), informers.informer(CONFIG_MAPS)
    async with kube.EventRecorder(client, "greeter") as events:

        async def reconcile(key: kube.ObjectKey) -> None:
            greeting = greetings.store.get_key(key)
            if greeting is None:
                return  # Deleted: the garbage collector takes the ConfigMap, which names its owner.
            data = {"text": greeting["spec"]["text"]}
            current = config_maps.store.get_key(key)
            if current is None or current.get("data") != data:
                owner = GREETINGS.owner_reference(greeting)
                metadata = {"name": key.name, "namespace": key.namespace, "ownerReferences": [owner]}
                wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
                await client.apply(CONFIG_MAPS, wanted, field_manager="greeter", force=True)
                events.normal(GREETINGS, greeting, "Written", f"wrote {data['text']!r}")
            if not greeting.get("status", {}).get("written"):
                status = {"status": {"written": True}}
                await client.patch(GREETINGS, key.name, status, key.namespace, subresource="status")

        controller = kube.Controller("greeter", reconcile, concurrency=4)
        controller.watch(greetings).owns(config_maps, "Greeting")
        await kube.run_controllers(informers, [controller])


async def main() -> None:
    async with kube.Client.load() as client:
        election = kube.LeaderElection(client, "greeter", "default")
        await kube.run_until_signal(kube.run_elected(election, lambda: work(client)))


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
