"""A service without replicas: the first request brings the first replica, through `/scale`, and is answered by it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.cluster import Kubectl
from e2e.test_model_service import model_service, post, question
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")


def test_requests_for_a_service_without_replicas_wait_for_its_first_and_are_answered(
    kubectl: Kubectl, gateway: str
) -> None:
    name = f"z-{kubectl.namespace}"
    kubectl.run("apply", "-f", "-", stdin=json.dumps(model_service(name, 0)))
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status, answer = post(gateway, "/v1/chat/completions", question(name), 60)
        if status != 404:
            break
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    assert status == 200, answer
    service = kubectl.json("get", "modelservice", "chat")
    assert service["spec"]["replicas"] == 1
    assert len(kubectl.json("get", "pods")["items"]) == 1


def test_many_requests_bring_one_replica_and_it_may_go_to_zero_again(kubectl: Kubectl, gateway: str) -> None:
    name = f"z-{kubectl.namespace}"
    kubectl.run("apply", "-f", "-", stdin=json.dumps(model_service(name, 1)))
    kubectl.wait_for("condition=Ready", "modelservice/chat")
    kubectl.run("scale", "modelservice/chat", "--replicas=0")
    kubectl.wait_for("jsonpath={.status.replicas}=0", "modelservice/chat")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(gateway, "/v1/chat/completions", question(name), 60), range(20)))
    assert {status for status, _ in answers} == {200}, answers
    assert kubectl.json("get", "modelservice", "chat")["spec"]["replicas"] == 1


def test_an_autoscaler_that_owns_the_count_is_left_alone(kubectl: Kubectl, gateway: str) -> None:
    service = model_service(f"z-{kubectl.namespace}", 0)
    service["metadata"]["annotations"] = {"fairlead.dev/scaled-by": "somebody"}
    kubectl.run("apply", "-f", "-", stdin=json.dumps(service))
    deadline = time.monotonic() + PATIENCE_S
    with ThreadPoolExecutor(1) as pool:
        while True:
            asked = pool.submit(post, gateway, "/v1/chat/completions", question(service["spec"]["model"]["name"]), 60)
            time.sleep(1.5)
            if not asked.done() or asked.result()[0] != 404:
                break
            assert time.monotonic() < deadline
        assert kubectl.json("get", "modelservice", "chat")["spec"]["replicas"] == 0
        kubectl.run("scale", "modelservice/chat", "--replicas=1")
        status, answer = asked.result(timeout=60)
    assert status == 200, answer
