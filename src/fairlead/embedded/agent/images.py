"""Images as local programs: what a container runs when its node has no container runtime.

`command` runs as it is. Without `command`, the image's name is looked up in `images.json`, whose entries play the part
of an image's entrypoint and default arguments. An image found in neither way cannot be run here, and the error says so.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

_REFERENCE = re.compile(
    r"(?P<name>(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9]+:[0-9a-f]{32,}))?"
)


class ImageError(Exception):
    """A container cannot be started from its image. `reason` is the waiting state's reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Image:
    """A known local program. `{python}` and `{name}` (the image's last path part) are filled in."""

    pattern: str
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    image_id: str


@cache
def known_images() -> tuple[Image, ...]:
    """The table shipped with the agent, first match wins."""
    table = json.loads(resources.files(__package__).joinpath("images.json").read_text())
    return tuple(
        Image(
            row["pattern"],
            tuple(row.get("entrypoint", ())),
            tuple(row.get("arguments", ())),
            dict(row.get("environment", {})),
        )
        for row in table
    )


def environment_of(reference: str) -> Mapping[str, str]:
    """Variables that a known image sets. Raises ImageError for what is no image reference."""
    image = _find(_familiar(_parse(reference)["name"]), known_images())
    return {} if image is None else image.environment


def resolve(
    reference: str, command: Sequence[str], arguments: Sequence[str], images: Sequence[Image] | None = None
) -> Program:
    """The program for a container, its `command` and `args` already expanded. Raises ImageError."""
    parsed = _parse(reference)
    name = _familiar(parsed["name"])
    image = _find(name, known_images() if images is None else images)
    environment = {} if image is None else image.environment
    image_id = reference if parsed["digest"] or parsed["tag"] else f"{reference}:latest"
    if command:
        return Program((*command, *arguments), environment, image_id)
    if image is None or not (image.entrypoint or image.arguments or arguments):
        raise ImageError(
            "ErrImageNeverPull",
            f'This node runs local programs and pulls no images, and it knows no program for image "{reference}": '
            "give the container a command (spec.containers[].command) that exists on this machine",
        )
    filled = [
        part.replace("{python}", sys.executable).replace("{name}", name.rpartition("/")[2]) for part in image.entrypoint
    ]
    argv = (*filled, *(arguments or image.arguments))
    if shutil.which(argv[0]) is None:
        raise ImageError(
            "ErrImageNeverPull",
            f'Image "{reference}" stands for the local program "{argv[0]}", which is not installed on this machine',
        )
    return Program(tuple(argv), environment, image_id)


def _parse(reference: str) -> re.Match[str]:
    parsed = _REFERENCE.fullmatch(reference)
    if parsed is None:
        message = f'Failed to apply default image tag "{reference}": invalid reference format'
        raise ImageError("InvalidImageName", message)
    return parsed


def _familiar(name: str) -> str:
    """Without the registry and the `library` prefix, which say nothing about the program."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    return name.removeprefix("library/")


def _find(name: str, images: Sequence[Image]) -> Image | None:
    for image in images:
        if re.fullmatch(image.pattern, name):
            return image
    return None
