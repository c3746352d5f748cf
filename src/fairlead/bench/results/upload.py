"""Reports and runs on object stores, through fsspec: s3://, gs://, file://, memory:// and what else it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Scheme -> the package that fsspec needs for it."""


class CannotUpload(RuntimeError):
    """What is missing or was refused, with what helps."""


def upload(files: Sequence[Path], to: str) -> list[str]:
    """Copy files into a folder by its address; returns their addresses. Raises CannotUpload."""
    scheme = to.partition("://")[0]
    package = PACKAGES.get(scheme)
    try:
        import fsspec
    except ImportError:
        wanted = "fsspec" + (f" and {package}" if package else "")
        raise CannotUpload(f"{to} needs the package {wanted}: pip install {wanted.replace(' and ', ' ')}") from None
    try:
        system, folder = fsspec.core.url_to_fs(to)
    except ImportError as error:
        raise CannotUpload(f"{to} needs the package {package or error}: pip install {package or '(it)'}") from error
    except ValueError as error:
        raise CannotUpload(f"{to}: {error}; known are s3://, gs://, az://, file://") from error
    written = []
    try:
        # Object stores have no folders: making one would make a bucket that was merely mistyped.
        if package is None:
            system.makedirs(folder, exist_ok=True)
        for file in files:
            system.put_file(str(file), f"{folder.rstrip('/')}/{file.name}")
            written.append(f"{to.rstrip('/')}/{file.name}")
    except Exception as error:  # what a store's client raises is of its own kinds
        raise CannotUpload(f"{to}: {type(error).__name__}: {error}") from error
    return written
