"""From files to all that a planner looks at, in an order in which nothing refers to what comes later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fairlead.cli.failure import Failed
from fairlead.cli.schedule_admit import Admission, uid_for
from fairlead.cli.schedule_documents import BadDocuments, Document, Object, read_documents
from fairlead.cli.schedule_expand import CannotExpand, Expansion
from fairlead.cli.schedule_fleet import builtin_fleet, expand_fleet, is_fleet
from fairlead.kube.objects import Namespace, ObjectMeta, Pod

Step = Callable[[str, int], None]
"""Told what is being done, and how many are done."""

_ORDER: Final = (
    "Namespace", "PriorityClass", "Queue", "DeviceClass", "DeviceTaintRule", "StorageClass", "PersistentVolume",
    "PersistentVolumeClaim", "Node", "ResourceSlice", "ResourceClaim", "Job", "Topology", "CompositePodGroup",
    "PodGroup", "LeaderWorkerSet", "PodDisruptionBudget",
)  # fmt: skip
_RANK: Final = {kind: rank for rank, kind in enumerate(_ORDER)}
_LAST: Final = "Pod"


@dataclass(slots=True)
class Inputs:
    """Objects for a planner, pods last."""

    objects: list[Any] = field(default_factory=list)

    @property
    def scheduler_names(self) -> frozenset[str]:
        """Of all pods without a node."""
        return frozenset(
            each.spec.scheduler_name or "default-scheduler"
            for each in self.objects
            if isinstance(each, Pod) and not each.spec.node_name
        )

    @property
    def kinds(self) -> Mapping[str, int]:
        return Counter(kind_of(each) for each in self.objects)


class InputReader:
    """Reads one set of files after the other: later ones may refer to what earlier ones had."""

    def __init__(self, now_s: float, namespace: str = "default", step: Step = lambda what, done: None) -> None:
        self._admission = Admission(now_s, namespace)
        self._expansion = Expansion(self._admission, now_s)
        self._namespaces: set[str] = set()
        self._step = step

    def read(self, files: Sequence[Path], fleets: Sequence[str] = ()) -> Inputs:
        """All objects of the files and fleets, workloads with their pods. Raises Failed."""
        documents = [builtin_fleet(name) for name in fleets]
        documents += read_documents(files) if files else []
        return self.take(documents)

    def take(self, documents: Sequence[Document]) -> Inputs:
        """The same of documents. Raises Failed."""
        made: list[Any] = []
        for document in documents:
            if is_fleet(document.obj):
                made += expand_fleet(document, lambda done: self._step("nodes", done))
        nodes = [as_object(each) for each in made if kind_of(each) == "Node"]
        self._expansion.nodes += nodes
        admitted = self._admission.admit([each for each in documents if not is_fleet(each.obj)])
        return self._ordered((*made, *self._expanded(admitted)))

    def remember_templates(self, templates: Iterable[Any]) -> None:
        """ResourceClaimTemplates that are there already."""
        for each in templates:
            obj = as_object(each)
            self._expansion.templates[obj["metadata"].get("namespace", ""), obj["metadata"]["name"]] = obj

    def _expanded(self, objects: Sequence[Object]) -> list[Any]:
        found = []
        try:
            for number, obj in enumerate(self._expansion.expand(objects)):
                found.append(obj)
                if number % 1000 == 0:
                    self._step("objects", number)
        except CannotExpand as error:
            raise BadDocuments([str(error)]) from error
        return found

    def _ordered(self, objects: Iterable[Any]) -> Inputs:
        by_key: dict[tuple[str, str, str], Any] = {}
        for each in objects:
            kind, metadata = kind_of(each), metadata_of(each)
            # What a file says itself stands in place of what a fleet brings.
            by_key[kind, metadata[0], metadata[1]] = each
        namespaces = {key[1] for key in by_key if key[1]} - self._namespaces
        namespaces -= {key[2] for key in by_key if key[0] == "Namespace"}
        self._namespaces |= namespaces
        listed = [*map(_namespace, sorted(namespaces)), *by_key.values()]
        return Inputs(sorted(listed, key=lambda each: _rank(kind_of(each))))


def kind_of(obj: Any) -> str:
    """Of a struct or of plain JSON."""
    return str(obj["kind"] if isinstance(obj, Mapping) else obj.kind or type(obj).__name__)


def metadata_of(obj: Any) -> tuple[str, str]:
    """Namespace and name."""
    if isinstance(obj, Mapping):
        return obj["metadata"].get("namespace") or "", obj["metadata"].get("name") or ""
    return obj.metadata.namespace, obj.metadata.name


def as_object(obj: Any) -> Object:
    """A struct as plain JSON."""
    import msgspec

    if isinstance(obj, dict):
        return obj
    made = msgspec.to_builtins(obj)
    if not isinstance(made, dict):
        raise Failed(f"{type(obj).__name__} is no API object")
    made.setdefault("kind", type(obj).__name__)
    return made


def _rank(kind: str) -> int:
    return len(_ORDER) + 1 if kind == _LAST else _RANK.get(kind, len(_ORDER))


def _namespace(name: str) -> Namespace:
    labels = {"kubernetes.io/metadata.name": name}
    metadata = ObjectMeta(name=name, uid=uid_for("Namespace", "", name), labels=labels)
    return Namespace(api_version="v1", kind="Namespace", metadata=metadata)
