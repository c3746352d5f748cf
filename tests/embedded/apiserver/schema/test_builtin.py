import json

import pytest

from fairlead.embedded.apiserver.schema import builtin
from fairlead.embedded.apiserver.schema.node import UNSET


def test_merge_keys_and_list_types() -> None:
    container = builtin.definition("io.k8s.api.core.v1.Container")
    assert container.properties["env"].patch_merge_key == "name"
    ports = container.properties["ports"]
    assert (ports.list_type, ports.list_keys) == ("map", ("containerPort", "protocol"))
    assert ports.items is not None and ports.items.properties["protocol"].default == "TCP"


def test_facts_of_a_field_do_not_leak_into_the_definition_it_refers_to() -> None:
    spec = builtin.definition("io.k8s.api.apps.v1.DeploymentSpec")
    assert spec.properties["strategy"].patch_strategies == {"retainKeys"}
    assert not builtin.definition("io.k8s.api.apps.v1.DeploymentStrategy").patch_strategies


@pytest.mark.parametrize(
    ("group", "version", "kind"),
    [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("resource.k8s.io", "v1", "ResourceSlice"),
     ("autoscaling", "v1", "Scale"), ("meta.k8s.io", "v1", "DeleteOptions"), ("policy", "v1", "Eviction")],
)  # fmt: skip
def test_kinds_are_found(group: str, version: str, kind: str) -> None:
    schema = builtin.schema_for(group, version, kind)
    assert schema.properties["apiVersion"].type == "string"
    assert schema.name.endswith(f".{kind}")


def test_unknown_kinds_raise_key_error() -> None:
    with pytest.raises(KeyError):
        builtin.schema_for("apps", "v9", "Deployment")


def test_every_definition_expands_and_circles_close() -> None:
    for name in builtin.definition_names():
        builtin.definition(name)
    schema = builtin.definition("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    assert schema.properties["not"].properties is schema.properties
    assert schema.properties["not"].go is schema.go


def test_formats_lost_by_openapi_are_recovered() -> None:
    probe = builtin.definition("io.k8s.api.core.v1.HTTPGetAction")
    assert probe.properties["port"].format == "int-or-string"
    lease = builtin.definition("io.k8s.api.coordination.v1.LeaseSpec")
    assert lease.properties["renewTime"].format == "micro-time"
    limits = builtin.definition("io.k8s.api.core.v1.ResourceRequirements").properties["limits"]
    assert limits.additional is not None and limits.additional.format == "quantity"


def test_descriptions_are_not_shipped() -> None:
    assert "description" not in json.dumps(builtin._table()["definitions"]["io.k8s.api.core.v1.Pod"])
    assert builtin.definition("io.k8s.api.core.v1.Pod").default is UNSET
