"""Versions of firmware and drivers, as vendors write them, in the form that the API compares (semver 2.0.0)."""

from __future__ import annotations

import re

from fairlead.devices.inventory import Version

_MAX_BYTES = 64
_REMARK = re.compile(r"\s*\([^()]*\)$")
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:-([0-9A-Za-z-]+))?(?:[,+ ]+([0-9A-Za-z]+))?")


def version(text: str) -> Version | None:
    """ "1.6.0, c1bebfd" is "1.6.0+c1bebfd", "28.39.1002 (MT_0838)" is "28.39.1002"; None for what is no version."""
    match = _VERSION.fullmatch(_REMARK.sub("", text.strip())) if text.isascii() else None
    if match is None:
        return None
    major, minor, patch, before, build_id = match.groups()
    number = f"{int(major)}.{int(minor)}.{int(patch or 0)}"
    if before and not (before.isdigit() and before != str(int(before))):
        number += f"-{before}"
    number += f"+{build_id}" if build_id else ""
    return Version(number) if len(number) <= _MAX_BYTES else None
