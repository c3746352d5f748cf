"""The rules of our kinds: every definition is accepted as a whole, what rules and their messages cost is far below what
an API server grants, and a rule for a field that is not there is found."""

from __future__ import annotations

from typing import Any

import pytest

from api.served import definition
from fairlead.api.rules import Rule, attach
from fairlead.api.rules.model_service import NEED_SOURCE
from fairlead.api.serving_runtime import ENGINES as LISTED
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.kinds.crd import types
from fairlead.embedded.apiserver.registry import RequestContext
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.embedded.apiserver.schema.rule_cost import RULE_LIMIT, SCHEMA_LIMIT, cardinality, estimate_cost
from fairlead.embedded.apiserver.schema.rules import compile_rule, rule_environment
from fairlead.embedded.apiserver.schema.structural import compile_value_schema
from fairlead.engines import ENGINES, EngineSpec, EngineSpecError

CONTEXT = RequestContext(namespace="", now="2026-01-01T00:00:00Z")
KINDS = ("ModelService", "ServingRuntime", "ModelAdapter", "RoleScale", "TrafficReport", "Queue")


@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_is_accepted(kind: str) -> None:
    (crds,) = types()
    crd = definition(kind)
    assert decode(crd, crds) == []
    crds.strategy.default(crd)
    crds.strategy.prepare_create(crd, CONTEXT)
    assert [f"{e.field}: {e.message}" for e in crds.strategy.validate_create(crd, CONTEXT)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_rules_and_their_messages_stay_within_half_of_what_a_server_grants(kind: str) -> None:
    schema = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    costs = dict(costs_of(compile_value_schema(schema), kind, 1, is_root=True))
    assert all(cost <= RULE_LIMIT / 2 for cost in costs.values()), sorted(costs.items(), key=lambda c: -c[1])[:5]
    assert sum(costs.values()) <= SCHEMA_LIMIT / 2


def costs_of(node: Schema, path: str, times: float | None, *, is_root: bool = False) -> Any:
    """Each expression below a node with its cost, the messages too: a server that reckons them refuses as well."""
    limits = node.constraints
    for rule_set in (limits.rules if limits is not None else ()) or ():
        for source in rule_set.sources:
            compiled = compile_rule(source, node, is_root=is_root)
            environment = rule_environment(node, is_root, False)
            for text in filter(None, (source.rule, source.message_expression)):
                count = times if times is not None else cardinality(node)
                yield f"{path}: {text}", estimate_cost(environment, text, node) * count
            assert compiled.source.message, f"{path}: {source.rule} has no message"
    for name, child in node.properties.items():
        yield from costs_of(child, f"{path}.{name}", times)
    if node.items is not None:
        most = limits.max_items if limits is not None else None
        yield from costs_of(node.items, f"{path}[]", None if most is None or times is None else times * most)
    if node.additional is not None:
        most = limits.max_properties if limits is not None else None
        yield from costs_of(node.additional, f"{path}{{}}", None if most is None or times is None else times * most)


def test_the_runtimes_that_need_weights_are_those_whose_engines_do() -> None:
    assert set(LISTED) == set(ENGINES), "the engines that a ServingRuntime may name"
    found = []
    for name, engine in ENGINES.items():
        try:
            engine.command(EngineSpec(model="m", source=""))
        except EngineSpecError:
            found.append(name)
    assert sorted(found) == sorted(NEED_SOURCE)


def test_a_rule_for_a_field_that_is_not_there_is_refused() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    with pytest.raises(KeyError, match=r"a rule is for a\.b, but the schema has no b there"):
        attach(schema, {"a.b": [Rule("true", "never")]})
    attach(schema, {"a[]": [Rule("self != ''", "say something")]})
    assert schema["properties"]["a"]["items"]["x-kubernetes-validations"] == [  # type: ignore[index]
        {"rule": "self != ''", "message": "say something"}
    ]
