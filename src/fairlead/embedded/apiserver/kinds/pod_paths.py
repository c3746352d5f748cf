"""Rules of file paths inside pods: relative, without steps upwards, outside reserved names."""

from __future__ import annotations

from fairlead.embedded.apiserver.invalid import invalid
from fairlead.embedded.apiserver.kinds.errors import Errors


def validate_no_backsteps(errors: Errors, target: str, path: str) -> None:
    """No element of the path is `..`."""
    if ".." in target.split("/"):
        errors.append(invalid(path, target, "must not contain '..'"))


def validate_descending_path(errors: Errors, target: str, path: str) -> None:
    """A relative path that never leaves its root."""
    if target.startswith("/"):
        errors.append(invalid(path, target, "must be a relative path"))
    validate_no_backsteps(errors, target, path)


def validate_local_path(errors: Errors, target: str, path: str) -> None:
    """A descending path that does not begin with `..`, which volumes keep for themselves."""
    validate_descending_path(errors, target, path)
    if target.startswith("..") and not target.startswith("../"):
        errors.append(invalid(path, target, "must not start with '..'"))
