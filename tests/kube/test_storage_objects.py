"""Persistent volumes and storage classes as they come from an API server."""

from __future__ import annotations

import json

from fairlead.kube.kinds import PERSISTENT_VOLUMES, STORAGE_CLASSES


def test_where_a_volume_can_be_used() -> None:
    document = {
        "metadata": {"name": "v"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": "n", "name": "c"},
            "local": {"path": "/disk"},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}]}
                    ]
                }
            },
            "storageClassName": "fast",
        },
        "status": {"phase": "Bound"},
    }
    volume = PERSISTENT_VOLUMES.decode(json.dumps(document).encode())
    assert volume.spec.node_affinity is not None and volume.spec.node_affinity.required is not None
    (term,) = volume.spec.node_affinity.required.node_selector_terms
    assert term.match_expressions[0].values == ["a"] and volume.spec.claim_ref.name == "c"
    assert not PERSISTENT_VOLUMES.namespaced
    written = json.loads(PERSISTENT_VOLUMES.encode(volume))
    assert written["spec"] == document["spec"], "wire names and values survive"


def test_when_and_where_a_class_makes_volumes() -> None:
    document = {
        "metadata": {"name": "fast"},
        "provisioner": "example.com/p",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [
            {"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["a", "b"]}]}
        ],
    }
    storage = STORAGE_CLASSES.decode(json.dumps(document).encode())
    assert storage.volume_binding_mode == "WaitForFirstConsumer"
    assert storage.allowed_topologies[0].match_label_expressions[0].values == ["a", "b"]
