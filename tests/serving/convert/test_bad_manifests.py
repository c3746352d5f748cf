"""Objects that are not what their kind says: document, field, value and what was expected, of all of them at once."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.convert import BadManifests, Given, convert_manifests
from serving.convert.foreign import Json, foreign, isvc, llm, main, runtime

DRA = "serving.kserve.io/exp-dra-device"
SKLEARN: dict[str, Any] = {"storageUri": "s3://b/m"}


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        ({"kind": "InferenceService"}, "apiVersion: expected the object's apiVersion"),
        ({"apiVersion": "v1"}, "kind: expected the object's kind"),
        ({"apiVersion": "v1", "kind": "X", "metadata": 3}, "metadata: expected an object with a name, found int 3"),
        ({**isvc(), "spec": 7}, "spec: expected an object, found int 7"),
        (foreign("InferenceService", "v1beta1", {"name": "A_b"}, {"predictor": {}}), "metadata.name: expected a name"),
        (isvc(), "spec.predictor: expected one of model, sklearn"),
        (isvc(model={}), "spec.predictor.model.modelFormat.name: expected the format"),
        (isvc(sklearn=[]), "spec.predictor.sklearn: expected an object, found a list []"),
        (isvc(sklearn=SKLEARN, minReplicas="2"), "minReplicas: expected a whole number, found text '2'"),
        (isvc(sklearn=SKLEARN, minReplicas=True), "spec.predictor.minReplicas: expected a whole number"),
        (isvc(sklearn={**SKLEARN, "args": [1]}), "spec.predictor.sklearn.args[0]: expected text"),
        (isvc(sklearn={**SKLEARN, "env": [{"name": "a b", "value": "1"}]}), "env[0].name: expected the name of an"),
        (isvc(sklearn={**SKLEARN, "resources": {"limits": {"cpu": "lots"}}}), "limits.cpu: expected an amount"),
        (llm(model={}), "spec.model.uri: expected where the weights are"),
        (llm(model={"uri": 3}), "spec.model.uri: expected text, found int 3"),
        (llm(parallelism={"expert": 8}), "spec.parallelism.expert: expected true or false, found int 8"),
        (llm(baseRefs={"name": "x"}), "spec.baseRefs: expected a list"),
        (llm(baseRefs=[{}]), "spec.baseRefs[0].name: expected the name of an LLMInferenceServiceConfig"),
        (llm(rolloutStrategy={"maxSurge": "some"}), "spec.rolloutStrategy.maxSurge: expected a number of replicas"),
        (llm(template=main(env=[{"name": "A", "value": 1}])), "env[0].value: expected text"),
        (llm(annotations={f"{DRA}-class": "c", f"{DRA}-count": "x"}),
         "expected 1 to 64 devices, found text 'x'"),
        (llm(model={"uri": "hf://o/m", "criticality": "High"}), "expected one of Critical, Standard, Sheddable"),
        (runtime("r", containers=3), "spec.containers: expected a list of objects, found int 3"),
        (foreign("TrainedModel", "v1alpha1", {"name": "a"}, {"model": {}}), "spec.inferenceService: expected"),
        (foreign("LocalModelCache", "v1alpha1", {"name": "a"}, {}), "spec.sourceModelUri: expected the URI"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_field_and_value(obj: Json, said: str) -> None:
    with pytest.raises(BadManifests) as error:
        convert_manifests([Given("f.yaml, document 3", obj)])
    (problem,) = error.value.problems
    assert problem.startswith("f.yaml, document 3: ") and said in problem


def test_all_documents_are_looked_at() -> None:
    given = [Given(f"f.yaml, document {i}", isvc(sklearn=i)) for i in (1, 2)]
    with pytest.raises(BadManifests) as error:
        convert_manifests(given)
    assert len(error.value.problems) == 2
