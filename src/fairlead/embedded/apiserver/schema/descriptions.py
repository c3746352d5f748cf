"""What fields of built-in kinds mean, from the installed client library's docstrings, for `kubectl explain`.

The model modules are read as text, one when its kind is asked for: importing the library takes seconds, and copying its
sentences into this project would age.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

_ATTRIBUTE_MAP = re.compile(r"attribute_map = (\{.*?\})", re.DOTALL)
_GETTER = re.compile(
    r'"""Gets the (\w+) of this \w+\.  # noqa: E501\n\n +(?!:return:)((?:(?!""").)*?)  # noqa: E501\n\n +:return:',
    re.DOTALL,
)
_NO_DESCRIPTIONS: Mapping[str, str] = {}


@functools.lru_cache(maxsize=2048)
def field_descriptions(definition: str) -> Mapping[str, str]:
    """JSON field name -> description, for a definition such as "io.k8s.api.core.v1.PodSpec". Empty where unknown."""
    path = _model_file(definition)
    if path is None:
        return _NO_DESCRIPTIONS
    source = path.read_text()
    attributes = _ATTRIBUTE_MAP.search(source)
    if attributes is None:
        return _NO_DESCRIPTIONS
    json_names: dict[str, str] = ast.literal_eval(attributes[1])
    return {
        json_names[name]: " ".join(text.split()).replace("\\\\", "\\").replace('\\"', '"')
        for name, text in _GETTER.findall(source)
        if name in json_names
    }


def _model_file(definition: str) -> Path | None:
    parts = definition.split(".")
    if len(parts) < 3:
        return None
    group, version, kind = (parts[-3], parts[-2], parts[-1])
    models = _models()
    name = (version + kind).lower()
    return models.get(group + name) or models.get(name)


@functools.cache
def _models() -> Mapping[str, Path]:
    """Model name in lower case without underscores -> its module."""
    spec = importlib.util.find_spec("kubernetes_asyncio")
    locations = spec.submodule_search_locations if spec is not None else None
    if not locations:
        return {}
    folder = Path(next(iter(locations))) / "client" / "models"
    return {path.stem.replace("_", ""): path for path in folder.glob("*.py")}
