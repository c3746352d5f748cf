"""What can go wrong with a source of models.

SourceError
├── BadSource        the URL itself cannot be used
├── NotThere         there is no such model, revision or file
├── Denied           the credentials do not suffice, or there are none
├── Unreachable      no answer, or none that is of use, after every attempt
├── Changed          the source is not what it was when it was listed
├── Damaged          what arrived is not what the source says it is
└── Unsafe           a name that would leave the folder, or content that lies about itself
"""

from __future__ import annotations


class SourceError(Exception):
    """A model cannot be had from where it is said to be. The message names the source and the remedy."""


class BadSource(SourceError):
    """The URL cannot be used."""


class NotThere(SourceError):
    """The source answered that it does not have it."""


class Denied(SourceError):
    """The source wants other credentials."""


class Unreachable(SourceError):
    """The source gave no useful answer within the attempts and the time that it had."""


class Changed(SourceError):
    """The file is another one by now: listing again helps."""


class Damaged(SourceError):
    """The bytes do not have the checksum or the size that the source names."""


class Unsafe(SourceError):
    """Names or content that nothing good would have."""
