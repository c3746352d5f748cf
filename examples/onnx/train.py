"""Train two small classifiers on data that ships with scikit-learn, and export them for `runtime: onnx`.

    python examples/onnx/train.py DIR [--zipmap]

Writes DIR/iris/1/model.onnx (logistic regression on flowers) and DIR/digits/1/model.onnx (a small neural network on
8×8 images), prints their accuracy on held-out rows, and what the gateway should answer for the first of them.
Needs scikit-learn and skl2onnx (`pip install 'fairlead[dev]'`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and export the example models.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--zipmap", action="store_true", help="keep probabilities as maps from class to score")
    arguments = parser.parse_args()
    classifiers = {
        "iris": (load_iris(), LogisticRegression(max_iter=1000)),
        "digits": (load_digits(), MLPClassifier((32,), max_iter=300, random_state=0)),
    }
    for name, (data, classifier) in classifiers.items():
        rows = data.data.astype(np.float32)
        train, test, train_labels, test_labels = train_test_split(rows, data.target, random_state=0)
        model = make_pipeline(StandardScaler(), classifier).fit(train, train_labels)
        # Without ZipMap the probabilities are a plain matrix, one column for each of model.classes_.
        graph = to_onnx(model, train[:1], options={id(model): {"zipmap": arguments.zipmap}})
        file = arguments.folder / name / "1" / "model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(graph.SerializeToString())
        expected = {"rows": test[:2].tolist(), "labels": model.predict(test[:2]).tolist()}
        expected["probabilities"] = model.predict_proba(test[:2]).tolist()
        (arguments.folder / f"{name}.expected.json").write_text(json.dumps(expected))
        print(f"{name}: accuracy {model.score(test, test_labels):.3f} on {len(test)} held-out rows, {file}")
        print(f"  first rows: scikit-learn predicts {expected['labels']}")


if __name__ == "__main__":
    main()
