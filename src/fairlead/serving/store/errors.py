"""What can go wrong between a model and its store; every message says what, where and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """Something that a person can act on."""


class NotFound(StoreError):
    """The registry or layout has no such repository, tag, manifest or blob."""


class Denied(StoreError):
    """The registry refuses: no login, the wrong one, or one without the right."""


class Unreachable(StoreError):
    """Nobody answers, or not in time, however often it is tried."""


class Crawling(Unreachable):
    """Somebody answers, but so slowly that it leads to nothing."""


class WrongContent(StoreError):
    """Bytes that are not what their digest promises."""


class BadArtifact(StoreError):
    """A manifest or layer that is not what it claims to be, or that would write outside its folder."""


class NoSpace(StoreError):
    """The disk has too little room."""


class Unsigned(StoreError):
    """Nobody whose key is trusted has signed the artifact."""


class Stopped(StoreError):
    """The work was cancelled; what is done stays and is not done again."""
