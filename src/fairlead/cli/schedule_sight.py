"""What a planner sees of a cluster or of files, and what it says of the pods, gangs and claims there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fairlead.cli.failure import Failed
from fairlead.cli.schedule_cluster import read_cluster, read_workload
from fairlead.cli.schedule_inputs import InputReader, Inputs, kind_of, metadata_of
from fairlead.cli.schedule_planner import see, storyteller_of
from fairlead.kube.objects import DeviceClass
from fairlead.scheduling.explain.claim import claim_document, claim_page, claim_story
from fairlead.scheduling.explain.document import document
from fairlead.scheduling.explain.page import page
from fairlead.scheduling.explain.story import Story
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings

Mode = Literal["best", "upstream"]
Told = tuple[str, dict[str, Any]]
"""Text and JSON."""


@dataclass(slots=True)
class Sight:
    """One planner that was told of everything, at one moment."""

    planner: Planner
    inputs: Inputs
    reader: InputReader
    now_s: float
    is_offline: bool
    """Whether it was read from files."""
    kubeconfig: Path | None = None

    def pod(self, namespace: str, name: str) -> Told:
        """Raises Failed for a pod that is not there."""
        members = self.planner.roster.members.values()
        uid = next((uid for uid, m in self.planner.roster.members.items() if m.view.key == (namespace, name)), None)
        if uid is None:
            known = [m.view.name for m in members if m.view.namespace == namespace]
            raise Failed(f"there is no pod {namespace}/{name} that runs or waits; {near(name, known)}")
        gang = self.planner.roster.gang_of(uid)
        assert gang is not None, "every member has a gang"
        if gang.is_single:
            return self._told(gang)
        story = self.story(gang)
        own = replace(story, places=tuple(each for each in story.places if each.pod == f"{namespace}/{name}"))
        head = f"pod {namespace}/{name} goes with {gang.key}, all or nothing\n"
        return head + page(own), {"pod": f"{namespace}/{name}", **document(own)}

    def gang(self, namespace: str, name: str) -> Told:
        """Raises Failed for a gang that is not there."""
        found = self.planner.find(namespace, name)
        if not found:
            known = [each.name for each in self.planner.gangs.values() if each.namespace == namespace]
            raise Failed(f"there is no gang {namespace}/{name}; {near(name, known)}")
        texts, documents = zip(*(self._told(each) for each in found), strict=True)
        return "\n\n".join(texts), documents[0] if len(documents) == 1 else {"gangs": list(documents)}

    def claim(self, namespace: str, name: str) -> Told:
        """Raises Failed for a claim that is not there."""
        fleet = self.planner.fleet
        if (namespace, name) not in fleet.claims:
            known = [key[1] for key in fleet.claims if key[0] == namespace]
            raise Failed(f"there is no ResourceClaim {namespace}/{name}; {near(name, known)}")
        self.planner.intake.settle()
        waiting = {
            gang.identity: gang
            for member in self.planner.roster.members.values()
            if member.view.namespace == namespace and name in member.view.claims and not member.view.node
            if (gang := self.planner.roster.gang_of(member.view.uid)) is not None
        }
        stories = [self.story(gang) for gang in waiting.values()]
        told = claim_story(fleet, (namespace, name), stories)
        return claim_page(told), claim_document(told)

    @property
    def device_classes(self) -> list[str]:
        """Names of the classes that are there."""
        return [each.metadata.name for each in self.inputs.objects if isinstance(each, DeviceClass)]

    def workload(self, kind: str, namespace: str, name: str) -> Any:
        """A workload that makes pods. Raises Failed for one that is not there."""
        if not self.is_offline:
            return read_workload(self.kubeconfig, kind, namespace, name)
        found = [each for each in self.inputs.objects if kind_of(each) == kind]
        for each in found:
            if metadata_of(each) == (namespace, name):
                return each
        known = [metadata_of(each)[1] for each in found if metadata_of(each)[0] == namespace]
        raise Failed(f"there is no {kind} {namespace}/{name}; {near(name, known)}")

    def story(self, gang: Gang) -> Story:
        """The verdict about a gang, decided now and taken back, with all that there is to say of it."""
        teller = storyteller_of(self.planner, self.now_s)
        if not gang.pods:
            return teller.tell_standing(gang)
        return teller.tell(self.planner.verdict_of(gang, self.now_s))

    def _told(self, gang: Gang) -> Told:
        story = self.story(gang)
        return page(story), document(story)


def look_at_cluster(kubeconfig: Path | None, mode: Mode, now_s: float) -> Sight:
    """Raises ApiError, Unreachable."""
    inputs, templates = read_cluster(kubeconfig)
    reader = InputReader(now_s)
    reader.remember_templates(templates)
    return Sight(_planner(inputs, mode), inputs, reader, now_s, False, kubeconfig)


def look_at_files(
    files: Sequence[Path], fleets: Sequence[str], mode: Mode, now_s: float, namespace: str = "default"
) -> Sight:
    """Raises Failed."""
    reader = InputReader(now_s, namespace)
    inputs = reader.read(files, fleets)
    return Sight(_planner(inputs, mode), inputs, reader, now_s, True)


def _planner(inputs: Inputs, mode: Mode) -> Planner:
    planner = Planner(Settings(names=inputs.scheduler_names | {"fairlead"}, mode=mode))
    see_all(planner, inputs)
    return planner


def see_all(planner: Planner, inputs: Inputs) -> None:
    """Kinds that the planner does not look at are left out."""
    for obj in inputs.objects:
        see(planner, obj)
    planner.intake.settle()


def near(name: str, known: Sequence[str]) -> str:
    """The rest of a sentence about a name that is not known."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not known:
        return "there are none in this namespace; name another with -n"
    shown = sorted(set(known))
    return f"there are {', '.join(shown[:10])}{' …' if len(shown) > 10 else ''}"
